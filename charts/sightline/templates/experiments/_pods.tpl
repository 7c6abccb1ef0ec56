{{/*
Containers of collector, controller and verdict service, without their names. All run the rollout image; matplotlib and DuckDB keep
what they write in /tmp. Context of all: root.
*/}}

{{/* What the three have: image, then the command. Takes (dict "root" $ "module" "collector.run"). */}}
{{- define "sightline.experiments.program" -}}
image: {{ include "sightline.image" (dict "root" .root "name" "rollout") }}
imagePullPolicy: {{ include "sightline.pullPolicy" .root }}
command: [python, -m, serving.rollout.{{ .module }}]
{{- end }}

{{/* Probes by HTTP. A start may wait for a claim to be recovered: 2 minutes. Takes (dict "port" "http"), "live", "ready", may take "scheme". */}}
{{- define "sightline.experiments.probes" -}}
startupProbe:
  httpGet: {path: {{ .live }}, port: {{ .port }}{{ if eq (.scheme | default "http") "https" }}, scheme: HTTPS{{ end }}}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 60
readinessProbe:
  httpGet: {path: {{ .ready }}, port: {{ .port }}{{ if eq (.scheme | default "http") "https" }}, scheme: HTTPS{{ end }}}
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet: {path: {{ .live }}, port: {{ .port }}{{ if eq (.scheme | default "http") "https" }}, scheme: HTTPS{{ end }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* Environment, resources, security. Takes root, "component", "values", and "env" (text of a list, may be empty), "envFrom", "mounts". */}}
{{- define "sightline.experiments.rest" -}}
{{- $pod := dict "root" .root "component" .component "pod" .values.pod }}
{{- with include "sightline.pod.env" (merge (dict "own" .env) $pod) }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- with list (.envFrom | default "") (include "sightline.pod.envFrom" $pod) | join "\n" | trim }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
securityContext:
  {{- include "sightline.containerSecurityContext" $pod | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- with .mounts }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- with include "sightline.pod.volumeMounts" $pod }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "sightline.experiments.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with include "sightline.pod.volumes" . }}
{{ . }}
{{- end }}
{{- end }}
