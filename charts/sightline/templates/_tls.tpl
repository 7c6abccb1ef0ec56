{{/*
TLS between the release's parts. A part that shows a certificate has its Secret at /etc/sightline/tls, one that calls it the authority alone
at /etc/sightline/ca/<part>.crt. The parts: ranker (gRPC), items (the bundled store), collector, captioner.
*/}}

{{/* Whether a part of this release shows a certificate. Takes (dict "root" $ "part" "ranker"). */}}
{{- define "sightline.tls.shows" -}}
{{- if and .root.Values.tls.enabled (include "sightline.tls.runs" .) }}true{{ end }}
{{- end }}

{{- define "sightline.tls.runs" -}}
{{- if eq .part "items" }}{{ include "sightline.items.bundled" .root }}
{{- else if eq .part "collector" }}{{ include "sightline.experiments.runs" . }}
{{- else if eq .part "ranker" }}{{ if ne .root.Values.ranker.mode "external" }}true{{ end }}
{{- else if has .root.Values.captioner.mode (list "deployment" "rayservice") }}true
{{- end }}
{{- end }}

{{/* The Secret of a part: yours, or the one that cert-manager writes. Takes root and "part". */}}
{{- define "sightline.tls.secret" -}}
{{- index .root.Values.tls.secrets .part | default (printf "%s-tls" (include "sightline.componentName" (dict "root" .root "component" .part))) }}
{{- end }}

{{/* "https" where a part of this release shows a certificate, else "http". Takes root and "part". */}}
{{- define "sightline.tls.http" -}}
{{- ternary "https" "http" (eq (include "sightline.tls.shows" .) "true") }}
{{- end }}

{{/* Volume and mount of what a part shows: YAML lists, or empty. Take root and "part". */}}
{{- define "sightline.tls.volume" -}}
{{- if include "sightline.tls.shows" . }}
- name: tls
  secret: {secretName: {{ include "sightline.tls.secret" . }}}
{{- end }}
{{- end }}

{{- define "sightline.tls.mount" -}}
{{- if include "sightline.tls.shows" . }}
- {name: tls, mountPath: /etc/sightline/tls, readOnly: true}
{{- end }}
{{- end }}

{{/* Of the parts that a pod calls, those that show a certificate: words with spaces between. Takes root and "parts". */}}
{{- define "sightline.tls.called" -}}
{{- $called := list }}
{{- range $part := .parts }}
{{- if include "sightline.tls.shows" (dict "root" $.root "part" $part) }}{{ $called = append $called $part }}{{ end }}
{{- end }}
{{- join " " $called }}
{{- end }}

{{/* Volume and mount of the authorities of the parts that a pod calls: YAML lists, or empty. Take root and "parts". */}}
{{- define "sightline.tls.authorities" -}}
{{- with include "sightline.tls.called" . }}
- name: authorities
  projected:
    sources:
      {{- range $part := splitList " " . }}
      - secret:
          name: {{ include "sightline.tls.secret" (dict "root" $.root "part" $part) }}
          items: [{key: ca.crt, path: {{ $part }}.crt}]
      {{- end }}
{{- end }}
{{- end }}

{{- define "sightline.tls.authoritiesMount" -}}
{{- if include "sightline.tls.called" . }}
- {name: authorities, mountPath: /etc/sightline/ca, readOnly: true}
{{- end }}
{{- end }}

{{/* By what variable a client of https:// finds the authority of the part that it calls: collector or captioner. Takes root and "part". */}}
{{- define "sightline.tls.env" -}}
{{- if include "sightline.tls.shows" . }}
- {name: SIGHTLINE_CA_FILE, value: /etc/sightline/ca/{{ .part }}.crt}
{{- end }}
{{- end }}

{{/*
Names in a part's certificate: its Services' by every suffix that a caller of the cluster may write, and localhost for kubectl port-forward.
Tritons are the exception: their headless Services are named after models and candidates, so callers expect the role's name at all of them
(predictor_tls_name), and no new model needs a new certificate. Takes root and "part". YAML list.
*/}}
{{- define "sightline.tls.names" -}}
{{- $name := include "sightline.componentName" (dict "root" .root "component" .part) }}
{{- $services := list $name }}
{{- if eq .part "items" }}
{{- $services = append $services (printf "%s-headless" $name) }}
{{- else if eq .part "collector" }}
{{- $services = append $services (printf "%s-headless" $name) }}
{{- else if and (eq .part "captioner") (eq .root.Values.captioner.mode "rayservice") }}
{{- $services = list (printf "%s-serve-svc" $name) }}
{{- else if and (eq .part "ranker") (eq .root.Values.ranker.mode "inferenceservice") }}
{{- $services = append $services (include "sightline.kserve.predictorName" .root) }}
{{- end }}
{{- $namespace := .root.Release.Namespace }}
{{- range $services }}
- {{ . }}
- {{ printf "%s.%s" . $namespace }}
- {{ printf "%s.%s.svc" . $namespace }}
- {{ printf "%s.%s.svc.cluster.local" . $namespace }}
{{- end }}
- localhost
{{- end }}
