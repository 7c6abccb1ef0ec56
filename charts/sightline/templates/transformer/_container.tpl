{{/* The transformer, without the container's name. Context: root. */}}
{{- define "sightline.transformer.container" -}}
{{- $transformer := .Values.transformer }}
{{- $pod := dict "root" . "component" "transformer" "pod" $transformer.pod }}
{{- $model := dict "root" . "layout" "bundle" }}
image: {{ include "sightline.image" (dict "root" . "name" "transformer") }}
imagePullPolicy: {{ include "sightline.pullPolicy" . }}
command: [python, -m, serving.transformer.run]
args:
  - --model_name={{ .Values.model.name }}
  - --bundle={{ include "sightline.model.path" $model }}
  - --store={{ include "sightline.items.uri" . }}
  - --predictor_host={{ include "sightline.ranker.grpcTarget" . }}
  - --predictor_protocol=grpc-v2
  {{- if include "sightline.tls.shows" (dict "root" . "part" "ranker") }}
  - --predictor_ca_file=/etc/sightline/ca/ranker.crt
  - --predictor_tls_name={{ include "sightline.componentName" (dict "root" . "component" "ranker") }}
  {{- end }}
  - --host=0.0.0.0
  - --http_port=8080
  - --grpc_port=8081
  - --grpc_connection_age_seconds={{ max 1 (div $transformer.preStopSeconds 2) }}
  {{- if .Values.experiments.enabled }}
  - --assignments={{ include "sightline.experiments.assignmentsRead" . }}
  - --exposures={{ include "sightline.experiments.exposures" . }}
  {{- end }}
  {{- range $name, $value := $transformer.settings }}
  - {{ printf "--%s=%s" $name (include "sightline.text" $value) | quote }}
  {{- end }}
{{- $env := list (include "sightline.model.trustEnv" .) (include "sightline.items.env" .) (include "sightline.transformer.experimentEnv" .) }}
{{- with include "sightline.pod.env" (merge (dict "own" (without $env "" | join "\n")) $pod) }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- $envFrom := list (ternary (include "sightline.experiments.candidateEnvFrom" .) "" .Values.experiments.enabled) (include "sightline.pod.envFrom" $pod) }}
{{- with without $envFrom "" | join "\n" | trim }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
ports:
  - {name: http, containerPort: 8080, protocol: TCP}
  - {name: grpc, containerPort: 8081, protocol: TCP}
startupProbe:
  httpGet: {path: /v2/health/live, port: http}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 90
# Ready when Triton serves the same contract.
readinessProbe:
  httpGet: {path: /v2/health/ready, port: http}
  periodSeconds: 3
  timeoutSeconds: 3
livenessProbe:
  httpGet: {path: /v2/health/live, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{ include "sightline.pod.lifecycle" $transformer.preStopSeconds }}
resources:
  {{- toYaml $transformer.resources | nindent 2 }}
securityContext:
  {{- include "sightline.containerSecurityContext" $pod | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- with include "sightline.model.volumeMounts" $model }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- with include "sightline.tls.authoritiesMount" (include "sightline.transformer.calls" . | fromYaml | merge (dict "root" .)) }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- with include "sightline.items.volumeMounts" . }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- with include "sightline.transformer.experimentMounts" . }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- with include "sightline.pod.volumeMounts" $pod }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The parts that it calls, for "sightline.tls.authorities". */}}
{{- define "sightline.transformer.calls" -}}
parts: {{ ternary (list "ranker" "items" "collector") (list "ranker" "items") (eq (include "sightline.experiments.collects" .) "true") | toJson }}
{{- end }}

{{/* Seconds until the pod is killed: preStop, the calls in progress, and some for leaving. */}}
{{- define "sightline.transformer.killSeconds" -}}
{{- add .Values.transformer.preStopSeconds (ceil (.Values.transformer.settings.grace_seconds | default 20)) 10 }}
{{- end }}

{{- define "sightline.transformer.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with include "sightline.transformer.extraVolumes" . }}
{{ . | trim }}
{{- end }}
{{- end }}

{{/* Without /tmp, which the containers of one pod share. */}}
{{- define "sightline.transformer.extraVolumes" -}}
{{- with include "sightline.tls.authorities" (include "sightline.transformer.calls" . | fromYaml | merge (dict "root" .)) }}
{{ . | trim }}
{{- end }}
{{- with include "sightline.items.volumes" . }}
{{ . | trim }}
{{- end }}
{{- if and .Values.experiments.enabled (eq .Values.experiments.assignments.via "mounted") }}
# The whole folder: a file mounted by subPath would never change.
- name: assignments
  configMap: {name: {{ include "sightline.experiments.book" . }}}
{{- end }}
{{- with include "sightline.pod.volumes" (dict "root" . "component" "transformer" "pod" .Values.transformer.pod) }}
{{ . }}
{{- end }}
{{- end }}

{{/* What sightline.pod.spec takes beside the role: seconds until the pod is killed, and whether it has a token. */}}
{{- define "sightline.transformer.podFields" -}}
graceSeconds: {{ include "sightline.transformer.killSeconds" . }}
token: {{ eq (include "sightline.experiments.transformerAsksApi" .) "true" }}
{{- end }}

{{/* Pseudonyms, and the token of exposures where they go to a collector: ours, or one elsewhere that has a Secret of yours. */}}
{{- define "sightline.transformer.experimentEnv" -}}
{{- if .Values.experiments.enabled }}
{{- include "sightline.experiments.pseudonymEnv" . }}
{{- include "sightline.experiments.armKeyEnv" . }}
{{- $elsewhere := and .Values.experiments.collector.tokens.existingSecret (hasPrefix "http" .Values.experiments.exposures.url) }}
{{- if or (include "sightline.experiments.collects" .) $elsewhere }}
{{- include "sightline.experiments.tokenEnv" (dict "root" . "right" "exposures") }}
{{- end }}
{{- if include "sightline.experiments.collects" . }}
{{- include "sightline.tls.env" (dict "root" . "part" "collector") }}
{{- end }}
{{- end }}
{{- end }}

{{/* The assignment where it is mounted; and the claim of the model store, where candidates are opened by this process itself. */}}
{{- define "sightline.transformer.experimentMounts" -}}
{{- if .Values.experiments.enabled }}
{{- if eq .Values.experiments.assignments.via "mounted" }}
- {name: assignments, mountPath: /etc/sightline/assignments, readOnly: true}
{{- end }}
{{- if include "sightline.model.claim" (dict "root" .) }}
- {name: store, mountPath: /mnt/store, readOnly: true}
{{- end }}
{{- end }}
{{- end }}
