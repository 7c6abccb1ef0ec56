{{/*
The shape that all Jobs share. A Job's pod template can never be changed, so a Job's name ends in a hash of it: an upgrade that
changes the template makes a new Job and removes the old one. A pod's labels have no chart version for that reason.

Takes (dict "root" $ "kind" "train" "values" .Values.jobs.train "pod" .Values.jobs.pod "account" … "accountName" "jobs" "args" "<YAML list>"
"completions" 1 "parallelism" 1 "indexed" false "torchrun" false).
*/}}
{{- define "sightline.job" -}}
{{- $role := dict "root" .root "component" .kind -}}
{{- $fixed := include "sightline.job.fixed" . -}}
{{- $cron := .values.schedule | default "" -}}
apiVersion: batch/v1
kind: {{ ternary "CronJob" "Job" (ne $cron "") }}
metadata:
  name: {{ include "sightline.componentName" $role }}{{ if not $cron }}-{{ sha256sum $fixed | trunc 8 }}{{ end }}
  labels:
    {{- include "sightline.labels" $role | nindent 4 }}
    {{- if and .queueName (not $cron) }}
    kueue.x-k8s.io/queue-name: {{ .queueName }}
    {{- end }}
  {{- with include "sightline.annotations" .root }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
{{- if $cron }}
  schedule: {{ $cron | quote }}
  suspend: {{ .suspend | default false }}
  # A run that is still going is not joined by a second one: both would write the same captions and want the same GPU.
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    metadata:
      labels:
        {{- include "sightline.selectorLabels" $role | nindent 8 }}
        {{- with .queueName }}
        kueue.x-k8s.io/queue-name: {{ . }}
        {{- end }}
    spec:
      {{- include "sightline.job.limits" . | nindent 6 }}
      {{- $fixed | nindent 6 }}
{{- else }}
  suspend: {{ .suspend | default false }}
  {{- include "sightline.job.limits" . | nindent 2 }}
  {{- $fixed | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What may change while a Job runs. */}}
{{- define "sightline.job.limits" -}}
parallelism: {{ .parallelism | default 1 }}
backoffLimit: {{ .backoffLimit }}
activeDeadlineSeconds: {{ .values.activeDeadlineSeconds }}
ttlSecondsAfterFinished: {{ .ttlSecondsAfterFinished }}
{{- end -}}

{{/* What may not. Exit codes: 75 is an interruption with its work kept, 1 would fail again, 2 is wrong usage; any other counts against backoffLimit. */}}
{{- define "sightline.job.fixed" -}}
completions: {{ .completions | default 1 }}
completionMode: {{ ternary "Indexed" "NonIndexed" (.indexed | default false) }}
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions:
        - {type: DisruptionTarget, status: "True"}
    - action: Ignore
      onExitCodes: {containerName: {{ .kind }}, operator: In, values: [75]}
    - action: FailJob
      onExitCodes: {containerName: {{ .kind }}, operator: In, values: [1, 2]}
template:
  {{- include "sightline.job.pod" . | nindent 2 }}
{{- end -}}
