{{/*
What experiments are made of, and how the roles reach it. Context of all: root.
*/}}

{{- define "sightline.experiments.enabled" -}}
{{- if .Values.experiments.enabled }}true{{ end }}
{{- end }}

{{/* Whether a part of experiments runs. Takes (dict "root" $ "part" "collector"). */}}
{{- define "sightline.experiments.runs" -}}
{{- if and .root.Values.experiments.enabled (index .root.Values.experiments .part).enabled }}true{{ end }}
{{- end }}

{{/* The ConfigMap of the assignment. The controller writes its key book.json. */}}
{{- define "sightline.experiments.book" -}}
{{- include "sightline.componentName" (dict "root" . "component" "assignments") }}
{{- end }}

{{/* Where the controller writes the assignment, and transformers read it unless it is mounted. */}}
{{- define "sightline.experiments.assignments" -}}
{{- if eq .Values.experiments.assignments.via "redis" }}
{{- include "sightline.items.uri" . }}
{{- else }}
{{- printf "configmap://%s/%s" .Release.Namespace (include "sightline.experiments.book" .) }}
{{- end }}
{{- end }}

{{- define "sightline.experiments.assignmentsRead" -}}
{{- if eq .Values.experiments.assignments.via "mounted" }}/etc/sightline/assignments/book.json
{{- else }}{{ include "sightline.experiments.assignments" . }}
{{- end }}
{{- end }}

{{/* Whether transformers ask the Kubernetes API, and so need a token. */}}
{{- define "sightline.experiments.transformerAsksApi" -}}
{{- if and .Values.experiments.enabled (eq .Values.experiments.assignments.via "api") }}true{{ end }}
{{- end }}

{{- define "sightline.experiments.collectorUrl" -}}
{{- printf "http://%s:8090" (include "sightline.componentName" (dict "root" . "component" "collector")) }}
{{- end }}

{{- define "sightline.experiments.exposures" -}}
{{- .Values.experiments.exposures.url | default (printf "%s/v1/exposures" (include "sightline.experiments.collectorUrl" .)) }}
{{- end }}

{{/* Whether exposures go to this release's collector. */}}
{{- define "sightline.experiments.collects" -}}
{{- if and (include "sightline.experiments.runs" (dict "root" . "part" "collector")) (not .Values.experiments.exposures.url) }}true{{ end }}
{{- end }}

{{- define "sightline.experiments.pseudonymsSecret" -}}
{{- .Values.experiments.pseudonyms.existingSecret | default (include "sightline.componentName" (dict "root" . "component" "pseudonyms")) }}
{{- end }}

{{/* Environment of those who make pseudonyms: transformers and the collector. */}}
{{- define "sightline.experiments.pseudonymEnv" -}}
- name: SIGHTLINE_PSEUDONYM_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "sightline.experiments.pseudonymsSecret" . }}
      key: {{ .Values.experiments.pseudonyms.secretKey }}
{{- end }}

{{/* The collector's token, for the collector and those who ask it; nothing when it has none. */}}
{{- define "sightline.experiments.tokenEnv" -}}
{{- with .Values.experiments.collector.token.existingSecret }}
- name: SIGHTLINE_COLLECTOR_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.experiments.collector.token.secretKey }}
{{- end }}
{{- end }}

{{/* Credentials of the model store for those who open candidates. */}}
{{- define "sightline.experiments.candidateEnvFrom" -}}
{{- with include "sightline.experiments.candidateSecret" . }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{- define "sightline.experiments.candidateSecret" -}}
{{- .Values.experiments.candidates.credentialsSecret | default .Values.model.credentialsSecret }}
{{- end }}
