{{- define "sightline.checks.captioner" -}}
{{- $captioner := .Values.captioner }}
{{- if eq $captioner.mode "external" }}
{{- if not (regexMatch "^https?://[^/]+" $captioner.externalUrl) }}
- captioner.externalUrl: {{ $captioner.externalUrl | quote }} is no URL, and captioner.mode is external. Give the captioner's base URL: http://captioner.example.com:8000.
{{- end }}
{{- else if $captioner.externalUrl }}
- captioner.externalUrl: {{ $captioner.externalUrl | quote }} would be ignored, since captioner.mode is {{ $captioner.mode }}. Set captioner.mode=external, or leave it empty.
{{- end }}
{{- if eq $captioner.mode "deployment" }}
{{- include "sightline.checks.cpuScaling" (dict "path" "captioner.deployment.autoscaling" "autoscaling" $captioner.deployment.autoscaling "at" "captioner.resources" "resources" $captioner.resources) }}
{{- include "sightline.checks.gpus" (dict "gpus" $captioner.settings.model_gpus "found" (include "sightline.gpu" $captioner.resources) "at" "captioner.resources") }}
{{- else if eq $captioner.mode "rayservice" }}
{{- include "sightline.checks.ray" . }}
{{- include "sightline.checks.rayUpgrade" $captioner.rayService }}
{{- end }}
{{- end }}

{{/* A GPU is used only when both Ray and Kubernetes are told. Takes "gpus" (per replica), "found", "at", "also". */}}
{{- define "sightline.checks.gpus" -}}
{{- $wanted := gt (float64 (.gpus | default 0)) 0.0 }}
{{- if and $wanted (not .found) }}
- captioner.settings.model_gpus: it is {{ .gpus }}, and no pod has a GPU, so the model would never start. Name one in {{ .at }}.limits (nvidia.com/gpu: 1){{ .also }}, or set model_gpus to 0.
{{- else if and .found (not $wanted) }}
- captioner.settings.model_gpus: it is 0, and {{ .at }}.limits asks for a GPU, which would stay idle. Set model_gpus to the GPUs of one replica (1), or remove the GPU.
{{- end }}
{{- end }}

{{- define "sightline.checks.ray" -}}
{{- $ray := .Values.captioner.rayService }}
{{- $gpu := and (gt (int $ray.gpuWorkers.maxReplicas) 0) (include "sightline.gpu" $ray.gpuWorkers.resources) }}
{{- include "sightline.checks.gpus" (dict "gpus" .Values.captioner.settings.model_gpus "found" $gpu "at" "captioner.rayService.gpuWorkers.resources" "also" " and set gpuWorkers.maxReplicas") }}
{{- range $name := list "cpuWorkers" "gpuWorkers" }}
{{- $group := index $ray $name }}
{{- if gt (int $group.minReplicas) (int $group.maxReplicas) }}
- captioner.rayService.{{ $name }}: minReplicas {{ $group.minReplicas }} is above maxReplicas {{ $group.maxReplicas }}. Raise maxReplicas.
{{- end }}
{{- if and (gt (int $group.maxReplicas) 0) (not (dig "limits" "cpu" "" $group.resources)) }}
- captioner.rayService.{{ $name }}.resources.limits.cpu: it is missing; Ray gives replicas as many CPUs as this limit says. Give one.
{{- end }}
{{- end }}
{{- if eq 0 (add $ray.cpuWorkers.maxReplicas $ray.gpuWorkers.maxReplicas | int) }}
- captioner.rayService.cpuWorkers.maxReplicas: both groups of workers have 0, and no replica runs on Ray's head. Allow at least one worker.
{{- else if and (not $ray.autoscaling.enabled) (eq 0 (add $ray.cpuWorkers.minReplicas $ray.gpuWorkers.minReplicas | int)) }}
- captioner.rayService.cpuWorkers.minReplicas: both groups have 0, and autoscaling.enabled is false, so that no worker would ever start. Give the number of workers.
{{- end }}
{{- if kindIs "string" .Values.captioner.maxUnavailable }}
- captioner.maxUnavailable: {{ .Values.captioner.maxUnavailable | quote }} is no number, and for Ray's pods Kubernetes knows numbers only. Write 1.
{{- end }}
{{- if include "sightline.gpu" $ray.head.resources }}
- captioner.rayService.head.resources: a GPU here would stay idle, since no replica runs on Ray's head. Give it to gpuWorkers.
{{- end }}
{{- if and $ray.faultTolerance.enabled (not $ray.faultTolerance.redisAddress) }}
- captioner.rayService.faultTolerance.redisAddress: it is empty, and fault tolerance is enabled. Give a Redis of its own: redis.example:6379.
{{- else if and $ray.faultTolerance.redisAddress (not $ray.faultTolerance.enabled) }}
- captioner.rayService.faultTolerance.redisAddress: {{ $ray.faultTolerance.redisAddress | quote }} would be ignored, since faultTolerance.enabled is false. Enable it, or leave the address empty.
{{- end }}
{{- end }}

{{/* KubeRay's conditions for an incremental upgrade; a RayService that misses one is refused by the operator, not by the API server. */}}
{{- define "sightline.checks.rayUpgrade" -}}
{{- if ne .upgrade.strategy "NewClusterWithIncrementalUpgrade" }}
{{- if .upgrade.gatewayClassName }}
- captioner.rayService.upgrade.gatewayClassName: {{ .upgrade.gatewayClassName | quote }} would be ignored, since upgrade.strategy is {{ .upgrade.strategy }}. Set NewClusterWithIncrementalUpgrade, or leave it empty.
{{- end }}
{{- else }}
{{- if not .autoscaling.enabled }}
- captioner.rayService.autoscaling.enabled: it is false, and an incremental upgrade works by Ray's autoscaler. Enable it, or choose upgrade.strategy=NewCluster.
{{- end }}
{{- if not .upgrade.gatewayClassName }}
- captioner.rayService.upgrade.gatewayClassName: it is empty, and an incremental upgrade moves traffic through a Gateway. Name a GatewayClass of the cluster (kubectl get gatewayclasses), or choose upgrade.strategy=NewCluster.
{{- end }}
{{- if gt (int .upgrade.stepSizePercent) (int .upgrade.maxSurgePercent) }}
- captioner.rayService.upgrade.stepSizePercent: {{ .upgrade.stepSizePercent }} is above maxSurgePercent {{ .upgrade.maxSurgePercent }}; traffic cannot move faster than capacity grows. Lower it.
{{- end }}
{{- end }}
{{- end }}
