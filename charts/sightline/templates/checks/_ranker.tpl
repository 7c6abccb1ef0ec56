{{- define "sightline.checks.ranker" -}}
{{- $ranker := .Values.ranker }}
{{- $gpu := include "sightline.gpu" $ranker.resources }}
{{- if eq $ranker.mode "external" }}
{{- if not (regexMatch "^[^/:]+:[0-9]+$" $ranker.externalHost) }}
- ranker.externalHost: {{ $ranker.externalHost | quote }} is no host:port, and ranker.mode is external. Give Triton's gRPC address: triton.example.com:8001.
{{- end }}
{{- else if $ranker.externalHost }}
- ranker.externalHost: {{ $ranker.externalHost | quote }} would be ignored, since ranker.mode is {{ $ranker.mode }}. Set ranker.mode=external, or leave it empty.
{{- end }}
{{- $image := .Values.images.ranker }}
{{- $ours := or (eq $ranker.mode "deployment") (and (eq $ranker.mode "inferenceservice") (eq $ranker.inferenceService.runtime "python")) }}
{{- if and $ours $gpu (not (or $image.tagSuffix $image.tag $image.digest)) }}
- ranker.resources: the default ranker image has no CUDA for the GPU in limits. Set images.ranker.tagSuffix=-cuda (or a tag or digest of yours), use ranker.mode=inferenceservice with runtime=triton, or remove the GPU.
{{- end }}
{{- if ne $ranker.mode "external" }}
{{- include "sightline.checks.scaling" (dict "path" "ranker" "role" $ranker "mode" $ranker.mode) }}
{{- end }}
{{- if not (include "sightline.ranker.collocated" .) }}
{{- include "sightline.checks.scaling" (dict "path" "transformer" "role" .Values.transformer "mode" $ranker.mode) }}
{{- end }}
{{- if eq $ranker.mode "inferenceservice" }}
{{- include "sightline.checks.kserve" . }}
{{- include "sightline.checks.kserveStorage" . }}
{{- end }}
{{- end }}

{{/* Takes "path", "role" and ranker's "mode". */}}
{{- define "sightline.checks.scaling" -}}
{{- $scaling := .role.autoscaling }}
{{- $path := printf "%s.autoscaling" .path }}
{{- include "sightline.checks.cpuScaling" (dict "path" $path "autoscaling" $scaling "at" (printf "%s.resources" .path) "resources" .role.resources) }}
{{- if and $scaling.enabled (eq $scaling.by "keda") }}
{{- if ne .mode "inferenceservice" }}
- {{ $path }}.by: keda works through KServe's InferenceService, and ranker.mode is {{ .mode }}. Choose hpa, or write a ScaledObject for the Deployment in extraObjects.
{{- end }}
{{- if or (not $scaling.prometheusUrl) (not $scaling.query) }}
- {{ $path }}: keda needs prometheusUrl and query. Give both, or choose by=hpa.
{{- end }}
{{- else if or $scaling.prometheusUrl $scaling.query }}
- {{ $path }}: prometheusUrl and query would be ignored, since keda does not scale here. Set enabled=true and by=keda, or leave them empty.
{{- end }}
{{- if and (kindIs "invalid" .role.replicas) (not $scaling.enabled) (eq .mode "inferenceservice") }}
- {{ .path }}.replicas: it is null, and KServe scales its pods itself. Set {{ $path }}.enabled=true, or give a number.
{{- end }}
{{- if and $scaling.enabled (eq $scaling.by "hpa") (eq .mode "inferenceservice") (gt (int $scaling.targetCPU) 100) }}
- {{ $path }}.targetCPU: {{ $scaling.targetCPU }} is above 100, which KServe refuses. Raise the CPU request and lower the target.
{{- end }}
{{- end }}

{{- define "sightline.checks.kserve" -}}
{{- $ranker := .Values.ranker }}
{{- $transformer := .Values.transformer }}
{{- range $name := list "serving.kserve.io/deploymentMode" "serving.kserve.io/autoscalerClass" }}
{{- if hasKey $ranker.inferenceService.annotations $name }}
- ranker.inferenceService.annotations: {{ $name }} is set by the chart (Standard mode; autoscaling by ranker.autoscaling and transformer.autoscaling). Remove it.
{{- end }}
{{- end }}
{{- if or $transformer.service.annotations (ne $transformer.service.type "ClusterIP") }}
- transformer.service: it would be ignored, since KServe makes the Service. Use gateway or ingress to reach it from outside.
{{- end }}
{{- if include "sightline.ranker.collocated" . }}
{{- if or $transformer.autoscaling.enabled (gt (int $transformer.replicas) 1) }}
- transformer.replicas and transformer.autoscaling: they would be ignored, since the transformer is a container in Triton's pods. Use ranker.replicas and ranker.autoscaling, or inferenceService.transformer=separate.
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" "runtimeClassName" "labels" "annotations" }}
{{- if index $transformer.pod $key }}
- transformer.pod.{{ $key }}: it would be ignored, since the transformer is a container in Triton's pods. Use ranker.pod.{{ $key }}, or inferenceService.transformer=separate.
{{- end }}
{{- end }}
{{- else if not (dig "limits" "cpu" "" $transformer.resources) }}
- transformer.resources.limits.cpu: it is missing, and KServe would silently set it to its own default (1 CPU). Give a limit.
{{- end }}
{{- if not (or (dig "limits" "cpu" "" $ranker.resources) (include "sightline.ranker.kserveStorage" .)) }}
- ranker.resources.limits.cpu: it is missing, and KServe would silently set it to its own default (1 CPU). Give a limit.
{{- end }}
{{- end }}

{{- define "sightline.checks.kserveStorage" -}}
{{- $kserve := .Values.ranker.inferenceService }}
{{- if ne $kserve.storage "kserve" }}
{{- if $kserve.storageUri }}
- ranker.inferenceService.storageUri: {{ $kserve.storageUri | quote }} would be ignored, since storage is {{ $kserve.storage }}. Set storage=kserve, or leave it empty and use model.uri.
{{- end }}
{{- else if eq $kserve.runtime "python" }}
- ranker.inferenceService.storage: kserve brings a repository for Triton's ONNX Runtime backend, which our own image does not have. Choose storage=init, or runtime=triton.
{{- else if ne .Values.model.source "store" }}
- ranker.inferenceService.storage: kserve brings Triton's repository only, and model.source is demo, so that the transformer would serve another model. Set model.source=store and model.uri, or storage=init.
{{- else if $kserve.storageUri }}
{{- if not (regexMatch "^[a-z][a-z0-9+.-]*://.+" $kserve.storageUri) }}
- ranker.inferenceService.storageUri: {{ $kserve.storageUri | quote }} has no scheme. Write s3://…, pvc://…, oci://… or hf://….
{{- end }}
{{- else }}
{{- $name := base (dir (trimSuffix "/" .Values.model.uri)) }}
{{- if ne $name .Values.model.name }}
- model.name: it is {{ .Values.model.name | quote }}, and the entry model.uri holds a repository of the model {{ $name | quote }}: Triton would not find it. Set model.name={{ $name }}, or storage=init, which renames it.
{{- end }}
{{- if include "sightline.gpu" .Values.ranker.resources }}
- ranker.inferenceService.storage: the repository in the model store is written for CPUs, and the GPU of ranker.resources would stay idle. Choose storage=init, which writes one for the GPU, or give a storageUri of your own.
{{- end }}
{{- end }}
{{- end }}
