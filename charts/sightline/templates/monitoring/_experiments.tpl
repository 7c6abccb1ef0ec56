{{/* Alerts of experiments, as in prometheusrule.yaml. Rankings go on through all of them. Context: root. */}}
{{- define "sightline.monitoring.experimentAlerts" -}}
{{- $ns := printf "namespace=%q" .Release.Namespace }}
{{- $limit := .Values.monitoring.rules.thresholds }}
{{- $runbook := .Values.monitoring.rules.runbookUrl -}}
- alert: SightlineAssignmentStale
  expr: sightline_assignment_age_seconds{ {{- $ns -}} } > {{ $limit.assignmentSeconds }}
  for: 2m
  labels: {severity: warning}
  annotations:
    summary: A transformer cannot read the assignment of users
    description: {{ `Pod {{ $labels.pod }} last read the assignment {{ $value | humanizeDuration }} ago. Users keep their arms; a rollback would not reach this pod.` | quote }}
    runbook_url: {{ $runbook }}#sightlineassignmentstale
- alert: SightlineExposuresLost
  expr: |-
    sum(rate(sightline_exposures_total{ {{- $ns -}} ,result=~"dropped|failed"}[10m]))
      / sum(rate(sightline_exposures_total{ {{- $ns -}} ,result=~"queued|dropped"}[10m])) > {{ $limit.exposureLossRatio }}
  for: 10m
  labels: {severity: warning, namespace: {{ .Release.Namespace | quote }}}
  annotations:
    summary: Exposures of experiments are lost
    description: {{ `{{ $value | humanizePercentage }} of the exposures are dropped or refused; the experiment sees fewer users than there are.` | quote }}
    runbook_url: {{ $runbook }}#sightlineexposureslost
- alert: SightlineExposuresNotAcknowledged
  expr: |-
    (sum(rate(sightline_exposures_total{ {{- $ns -}} ,result="queued"}[5m])) > 0)
      unless (sum(rate(sightline_exposures_total{ {{- $ns -}} ,result="written"}[5m])) > 0)
  for: 5m
  labels: {severity: warning, namespace: {{ .Release.Namespace | quote }}}
  annotations:
    summary: The collector does not acknowledge exposures
    description: No exposure of {{ .Release.Namespace }} was acknowledged for 5 minutes; they wait in the transformers until their queues are full.
    runbook_url: {{ $runbook }}#sightlineexposuresnotacknowledged
- alert: SightlineCandidateFailing
  expr: |-
    sum by (experiment, arm) (rate(sightline_arm_requests_total{ {{- $ns -}} ,arm!="stable",outcome!="ok"}[5m]))
      / sum by (experiment, arm) (rate(sightline_arm_requests_total{ {{- $ns -}} ,arm!="stable"}[5m])) > {{ $limit.errorRatio }}
  for: 5m
  labels: {severity: warning, namespace: {{ .Release.Namespace | quote }}}
  annotations:
    summary: A candidate fails
    description: {{ `Arm {{ $labels.arm }} of experiment {{ $labels.experiment }} fails in {{ $value | humanizePercentage }} of its rankings; stable answers in its place.` | quote }}
    runbook_url: {{ $runbook }}#sightlinecandidatefailing
- alert: SightlineSampleRatioMismatch
  expr: |-
    min by (experiment) (sightline_experiment_ratio_p{ {{- $ns -}} }) < 0.001
      and on (experiment) max by (experiment) (max_over_time(sightline_experiment_phase{ {{- $ns -}} ,phase="Running"}[1d])) == 1
  for: 1m
  labels: {severity: warning, namespace: {{ .Release.Namespace | quote }}}
  annotations:
    summary: The arms of an experiment do not have the users they should have
    description: {{ `Arms of experiment {{ $labels.experiment }} as uneven as these have probability {{ $value | humanize }}: something records one arm and not the other. Its figures mean nothing.` | quote }}
    runbook_url: {{ $runbook }}#sightlinesampleratiomismatch
{{- if .Values.experiments.controller.enabled }}
- alert: SightlineExperimentsNotReconciled
  expr: |-
    (sum(sightline_operator_leader{ {{- $ns -}} }) or vector(0)) == 0
      or sum by (experiment) (increase(sightline_experiment_reconcile_failures_total{ {{- $ns -}} }[15m])) > 5
  for: 10m
  labels: {severity: critical, namespace: {{ .Release.Namespace | quote }}}
  annotations:
    summary: Nobody watches the experiments
    description: The controller of {{ .Release.Namespace }} is away or fails step after step; shares stay as they are, and no guardrail takes a candidate back.
    runbook_url: {{ $runbook }}#sightlineexperimentsnotreconciled
{{- end }}
{{- end }}
