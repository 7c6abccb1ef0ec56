{{/*
What every pod has. A role's pod values are those of `global.pod` with the role's own merged over them.
All take (dict "root" $ "component" "ranker" "pod" .Values.ranker.pod).
*/}}

{{- define "sightline.pod.values" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.global.pod) (.pod | default dict)) }}
{{- end }}

{{/* A security context: that of global.pod with the role's own over it, where a null takes a field away. Takes "field" too. */}}
{{- define "sightline.pod.security" -}}
{{- $found := deepCopy (index .root.Values.global.pod .field) }}
{{- range $name, $value := index (.pod | default dict) .field }}
{{- if kindIs "invalid" $value }}{{ $_ := unset $found $name }}{{ else }}{{ $_ := set $found $name $value }}{{ end }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{- define "sightline.containerSecurityContext" -}}
{{- include "sightline.pod.security" (merge (dict "field" "securityContext") .) }}
{{- end }}

{{/* Without the chart's version: a new chart with the same pods must not restart them. */}}
{{- define "sightline.pod.labels" -}}
{{ include "sightline.selectorLabels" . }}
app.kubernetes.io/part-of: sightline
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- with merge (dict) (include "sightline.pod.values" . | fromYaml).labels .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sightline.pod.annotations" -}}
{{- with merge (dict) (include "sightline.pod.values" . | fromYaml).annotations .root.Values.commonAnnotations }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/*
The environment of a role's main container: what the chart sets, "own" (text of a list, may be empty), and the role's `pod.env`, whose
variables replace the chart's of the same name.
*/}}
{{- define "sightline.pod.env" -}}
{{- $pod := (include "sightline.pod.values" . | fromYaml).env | default list }}
{{- $own := list (include "sightline.logs.env" .root) (.own | default "" | trim) | join "\n" | trim }}
{{- $set := fromYamlArray $own }}
{{- $replaced := dict }}
{{- range $pod }}{{ $_ := set $replaced .name . }}{{ end }}
{{- $kept := list }}
{{- range $set }}{{ if not (hasKey $replaced .name) }}{{ $kept = append $kept . }}{{ end }}{{ end }}
{{- if ne (len $kept) (len $set) }}{{ $own = ternary (toYaml $kept) "" (gt (len $kept) 0) }}{{ end }}
{{- list $own (ternary (toYaml $pod) "" (gt (len $pod) 0)) | join "\n" | trim }}
{{- end }}

{{- define "sightline.pod.envFrom" -}}
{{- with (include "sightline.pod.values" . | fromYaml).envFrom }}{{ toYaml . }}{{ end }}
{{- end }}

{{- define "sightline.pod.volumes" -}}
{{- with (include "sightline.pod.values" . | fromYaml).volumes }}{{ toYaml . }}{{ end }}
{{- end }}

{{- define "sightline.pod.volumeMounts" -}}
{{- with (include "sightline.pod.values" . | fromYaml).volumeMounts }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Where pods may run. Pods of one role prefer different nodes unless an affinity is given. */}}
{{- define "sightline.pod.scheduling" -}}
{{- $pod := include "sightline.pod.values" . | fromYaml }}
{{- $selector := include "sightline.selectorLabels" . | fromYaml }}
{{- with $pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- if $pod.affinity }}
  {{- toYaml $pod.affinity | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- toYaml $selector | nindent 14 }}
  {{- end }}
{{- with $pod.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml (merge (dict) . (dict "labelSelector" (dict "matchLabels" $selector))) | nindent 4 }}
  {{- end }}
{{- end }}
{{- with $pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pod.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end }}

{{/*
The fields of a pod's spec beside its containers and volumes. Also takes "graceSeconds" (time until the pod is killed), "init" (text of
the chart's own init containers), and for a pod that talks to the Kubernetes API, "token" true. enableServiceLinks is off because Kubernetes would otherwise inject
SIGHTLINE_… variables for our own Services, and our settings refuse variables that they do not know.
*/}}
{{- define "sightline.pod.spec" -}}
serviceAccountName: {{ include "sightline.serviceAccountName" . }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .graceSeconds | int }}
{{- with include "sightline.imagePullSecrets" .root }}
imagePullSecrets:
  {{- . | trim | nindent 2 }}
{{- end }}
securityContext:
  {{- include "sightline.pod.security" (merge (dict "field" "podSecurityContext") .) | nindent 2 }}
{{ include "sightline.pod.scheduling" . | trim }}
{{- $pod := include "sightline.pod.values" . | fromYaml }}
{{- range $field := list "hostAliases" "dnsPolicy" "dnsConfig" }}
{{- with index $pod $field }}
{{ dict $field . | toYaml }}
{{- end }}
{{- end }}
{{- with list (.init | default "" | trim) (ternary (toYaml $pod.initContainers) "" (gt (len $pod.initContainers) 0)) | join "\n" | trim }}
initContainers:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* preStop: keep serving until every client has forgotten the pod. `sleep` is in all images; the sleep action is not in Kubernetes 1.29. Takes seconds. */}}
{{- define "sightline.pod.lifecycle" -}}
{{- if gt (int .) 0 -}}
lifecycle:
  preStop:
    exec: {command: [sleep, {{ . | int | quote }}]}
{{- end }}
{{- end }}

{{/* A role's metadata: name, labels, annotations. Takes root and component. */}}
{{- define "sightline.metadata" -}}
name: {{ include "sightline.componentName" . }}
labels:
  {{- include "sightline.labels" . | nindent 2 }}
{{- with include "sightline.annotations" .root }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What programs log, where that is not their default (models/logs.py). Takes the root. */}}
{{- define "sightline.logs.env" -}}
{{- if ne .Values.global.logs.level "info" }}
- {name: SIGHTLINE_LOG_LEVEL, value: {{ .Values.global.logs.level }}}
{{- end }}
{{- if ne .Values.global.logs.format "text" }}
- {name: SIGHTLINE_LOG_FORMAT, value: {{ .Values.global.logs.format }}}
{{- end }}
{{- end }}
