{{/* How many pods of a role there are, and how they are replaced. */}}

{{/*
A Deployment's replicas. Where somebody else counts them (an autoscaler of the chart's or yours, "fixed" null) the living number is kept:
a field that Helm no longer writes would fall back to 1 when that autoscaler comes. Takes root, component, "fixed" and "autoscaling".
*/}}
{{- define "sightline.replicas" -}}
{{- if not (or .autoscaling.enabled (kindIs "invalid" .fixed)) }}
replicas: {{ .fixed }}
{{- else }}
{{- $living := lookup "apps/v1" "Deployment" .root.Release.Namespace (include "sightline.componentName" .) }}
{{- if $living }}
replicas: {{ $living.spec.replicas }}
{{- end }}
{{- end }}
{{- end }}

{{/* Pods that a role has at least, for its PodDisruptionBudget: 2 where somebody else counts them. Takes "fixed" and "autoscaling". */}}
{{- define "sightline.leastPods" -}}
{{- if .autoscaling.enabled }}{{ .autoscaling.minReplicas }}{{ else if kindIs "invalid" .fixed }}2{{ else }}{{ .fixed }}{{ end }}
{{- end }}

{{/* Whether a resources map asks for a GPU: nvidia.com/gpu, nvidia.com/mig-1g.5gb, amd.com/gpu, … */}}
{{- define "sightline.gpu" -}}
{{- range $name, $count := (.limits | default dict) }}
{{- if and (regexMatch "/(gpu|mig-)" $name) (ne (toString $count) "0") }}true{{ end }}
{{- end }}
{{- end }}

{{/* Update strategy of pods that may hold a GPU: a second pod would wait for the GPU that the first one holds, for ever. Takes resources. */}}
{{- define "sightline.rollingUpdate" -}}
type: RollingUpdate
rollingUpdate:
  {{- if include "sightline.gpu" . }}
  maxSurge: 0
  maxUnavailable: 1
  {{- else }}
  maxSurge: 1
  maxUnavailable: 0
  {{- end }}
{{- end }}

{{/* A PodDisruptionBudget where more than one pod runs; with one it would block every drain. Takes root, component, "pods" and "maxUnavailable".
For pods of a kind without scale (RayCluster, "unscaled" true) Kubernetes knows minAvailable as a number only; with anything else it lets no pod go. */}}
{{- define "sightline.disruptionBudget" -}}
{{- if gt (int .pods) 1 }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "sightline.componentName" . }}
  labels:
    {{- include "sightline.labels" . | nindent 4 }}
  {{- with include "sightline.annotations" .root }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  {{- if .unscaled }}
  minAvailable: {{ max 1 (sub (int .pods) (int .maxUnavailable)) }}
  {{- else }}
  maxUnavailable: {{ .maxUnavailable }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "sightline.selectorLabels" . | nindent 6 }}
      {{- if .unscaled }}
      ray.io/node-type: worker
      {{- end }}
{{- end }}
{{- end }}

{{/* A HorizontalPodAutoscaler for a role's Deployment. Takes root, component and "autoscaling". */}}
{{- define "sightline.autoscaler" -}}
{{- if .autoscaling.enabled }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "sightline.componentName" . }}
  labels:
    {{- include "sightline.labels" . | nindent 4 }}
  {{- with include "sightline.annotations" .root }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "sightline.componentName" . }}
  minReplicas: {{ .autoscaling.minReplicas }}
  maxReplicas: {{ .autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .autoscaling.targetCPU }}
{{- end }}
{{- end }}
