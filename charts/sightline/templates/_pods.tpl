{{/*
What every pod has. A role's pod values are those of `global.pod` with the role's own merged over them.
All take (dict "root" $ "component" "ranker" "pod" .Values.ranker.pod).
*/}}

{{- define "sightline.pod.values" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.global.pod) (.pod | default dict)) }}
{{- end }}

{{- define "sightline.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sightline.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
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

{{- define "sightline.pod.env" -}}
{{- with (include "sightline.pod.values" . | fromYaml).env }}{{ toYaml . }}{{ end }}
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
The fields of a pod's spec beside its containers and volumes. Also takes "graceSeconds" (time until the pod is killed) and,
for a pod that talks to the Kubernetes API, "token" true. enableServiceLinks is off because Kubernetes would otherwise inject
SIGHTLINE_… variables for our own Services, and our settings refuse variables that they do not know.
*/}}
{{- define "sightline.pod.spec" -}}
serviceAccountName: {{ include "sightline.serviceAccountName" . }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .graceSeconds | int }}
{{- with include "sightline.imagePullSecrets" .root }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "sightline.podSecurityContext" .root | nindent 2 }}
{{ include "sightline.pod.scheduling" . | trim }}
{{- end }}

{{/* preStop: keep serving until every client has forgotten the pod. `sleep` is in all images; the sleep action is not in Kubernetes 1.29. Takes seconds. */}}
{{- define "sightline.pod.lifecycle" -}}
{{- if gt (int .) 0 -}}
lifecycle:
  preStop:
    exec: {command: [sleep, {{ . | int | quote }}]}
{{- end }}
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
