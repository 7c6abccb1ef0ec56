{{/* Names and labels. Every object's name begins with sightline.fullname. */}}

{{- define "sightline.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The release's name alone when it holds the chart's name: release "sightline" makes "sightline-ranker".
Not cut when it is too long, since two releases could end up with the same name: the checks refuse it.
*/}}
{{- define "sightline.fullname" -}}
{{- $name := include "sightline.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name }}
{{- end }}
{{- end }}

{{- define "sightline.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of a role's objects. Takes (dict "root" $ "component" "ranker"). */}}
{{- define "sightline.componentName" -}}
{{- printf "%s-%s" (include "sightline.fullname" .root) .component }}
{{- end }}

{{/* Selectors never change, whatever the values: they are immutable. Takes (dict "root" $ "component" "ranker"). */}}
{{- define "sightline.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sightline.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of an object. Takes (dict "root" $ "component" "ranker"). */}}
{{- define "sightline.labels" -}}
{{ include "sightline.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: sightline
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ include "sightline.chart" .root }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sightline.annotations" -}}
{{- with .Values.commonAnnotations }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Takes (dict "root" $ "component" "ranker"); roles that share an account give its values as "account" and its name's end as "accountName". */}}
{{- define "sightline.serviceAccountName" -}}
{{- $account := .account | default (index .root.Values .component | default dict).serviceAccount }}
{{- $name := printf "%s-%s" (include "sightline.fullname" .root) (.accountName | default .component) }}
{{- $account.name | default (ternary $name "default" $account.create) }}
{{- end }}

{{- define "sightline.serviceAccount" -}}
{{- $account := .account | default (index .root.Values .component | default dict).serviceAccount }}
{{- if $account.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "sightline.serviceAccountName" . }}
  labels:
    {{- include "sightline.labels" . | nindent 4 }}
  {{- with merge (dict) $account.annotations .root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- with $account.secrets }}
secrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
