{{/*
Replicas and autoscaling in the InferenceService's own fields. Takes root and "role", the role's values.
Without autoscaling the class is `none` and minReplicas is the number of pods.
*/}}
{{- define "sightline.kserve.scaling" -}}
{{- $scaling := .role.autoscaling }}
{{- if not $scaling.enabled }}
minReplicas: {{ .role.replicas }}
{{- else }}
minReplicas: {{ $scaling.minReplicas }}
maxReplicas: {{ $scaling.maxReplicas }}
{{- if eq $scaling.by "hpa" }}
scaleMetric: cpu
scaleTarget: {{ $scaling.targetCPU }}
{{- else }}
autoScaling:
  metrics:
    - type: External
      external:
        metric:
          backend: prometheus
          serverAddress: {{ $scaling.prometheusUrl | quote }}
          query: {{ $scaling.query | quote }}
        target:
          type: Value
          value: {{ $scaling.target | quote }}
{{- end }}
{{- end }}
deploymentStrategy:
  {{- include "sightline.rollingUpdate" .role.resources | nindent 2 }}
{{- end }}

{{- define "sightline.kserve.autoscalerClass" -}}
serving.kserve.io/autoscalerClass: {{ ternary .autoscaling.by "none" .autoscaling.enabled }}
{{- end }}

{{/* The Triton repository that KServe downloads or mounts; its model's folder has the model's name. */}}
{{- define "sightline.kserve.storageUri" -}}
{{- .Values.ranker.inferenceService.storageUri | default (printf "%s/repository" (regexReplaceAll "@sha256:.*$" .Values.model.uri "" | trimSuffix "/")) }}
{{- end }}

{{/* The pod of KServe's predictor, and of its transformer; the containers' specs are those of the Deployments. */}}
{{- define "sightline.kserve.predictor" -}}
{{- $role := dict "root" . "component" "ranker" "pod" .Values.ranker.pod }}
{{- $collocated := include "sightline.ranker.collocated" . }}
{{- $seconds := include "sightline.ranker.killSeconds" . | int }}
{{- if $collocated }}
{{- $seconds = max $seconds (include "sightline.transformer.killSeconds" . | int) }}
{{- end }}
{{- $model := dict "root" . "layouts" (include "sightline.ranker.layouts" . | fromYamlArray) }}
{{- with .Values.ranker.inferenceService.predictorName }}
name: {{ . }}
{{- end }}
labels:
  {{- include "sightline.ranker.labels" . | nindent 2 }}
annotations:
  {{- include "sightline.kserve.autoscalerClass" .Values.ranker | nindent 2 }}
  {{- with include "sightline.pod.annotations" $role }}
  {{- . | nindent 2 }}
  {{- end }}
{{ include "sightline.kserve.scaling" (dict "root" . "role" .Values.ranker) | trim }}
{{ include "sightline.pod.spec" (merge (dict "graceSeconds" $seconds "init" (include "sightline.model.initContainers" (merge (dict "layouts" $model.layouts) $role))) $role) }}
{{- if include "sightline.ranker.kserveStorage" . }}
model:
  runtime: {{ include "sightline.componentName" $role }}
  modelFormat: {name: triton, version: "2"}
  protocolVersion: grpc-v2
  storageUri: {{ include "sightline.kserve.storageUri" . | quote }}
{{- end }}
{{- if or $collocated (not (include "sightline.ranker.kserveStorage" .)) }}
containers:
  {{- if not (include "sightline.ranker.kserveStorage" .) }}
  # A pod of our own: without a storageUri KServe takes a `model` for one of many in a server and adds a container that never becomes ready.
  - name: kserve-container
    {{- include (printf "sightline.ranker.%s" .Values.ranker.inferenceService.runtime) . | trim | nindent 4 }}
  {{- end }}
  {{- if $collocated }}
  - name: transformer-container
    {{- include "sightline.transformer.container" . | trim | nindent 4 }}
  {{- end }}
{{- end }}
{{- $volumes := list (include "sightline.model.volumes" $model | trim) }}
{{- if not (include "sightline.ranker.kserveStorage" .) }}
{{- $volumes = prepend $volumes (include "sightline.ranker.volumes" . | trim) }}
{{- end }}
{{- if $collocated }}
{{- $volumes = append $volumes (include "sightline.transformer.extraVolumes" . | trim) }}
{{- end }}
{{- with without $volumes "" | join "\n" }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "sightline.kserve.transformer" -}}
{{- $role := dict "root" . "component" "transformer" "pod" .Values.transformer.pod }}
{{- $model := dict "root" . "layouts" (list "bundle") }}
labels:
  {{- include "sightline.pod.labels" $role | nindent 2 }}
annotations:
  {{- include "sightline.kserve.autoscalerClass" .Values.transformer | nindent 2 }}
  {{- with include "sightline.pod.annotations" $role }}
  {{- . | nindent 2 }}
  {{- end }}
{{ include "sightline.kserve.scaling" (dict "root" . "role" .Values.transformer) | trim }}
{{ include "sightline.pod.spec" (merge (include "sightline.transformer.podFields" . | fromYaml) (dict "init" (include "sightline.model.initContainers" (merge (dict "layouts" $model.layouts) $role))) $role) }}
containers:
  - name: kserve-container
    {{- include "sightline.transformer.container" . | trim | nindent 4 }}
volumes:
  {{- include "sightline.transformer.volumes" . | nindent 2 }}
  {{- with include "sightline.model.volumes" $model }}
  {{- . | trim | nindent 2 }}
  {{- end }}
{{- end }}
