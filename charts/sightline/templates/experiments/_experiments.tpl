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
{{- printf "%s://%s:8090" (include "sightline.tls.http" (dict "root" . "part" "collector")) (include "sightline.componentName" (dict "root" . "component" "collector")) }}
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

{{/* The Secret with the collector's tokens, one key per right: yours, or the one that is made with the collector; else nothing. */}}
{{- define "sightline.experiments.tokensSecret" -}}
{{- with .Values.experiments.collector.tokens.existingSecret }}{{ . }}
{{- else }}{{ if include "sightline.experiments.runs" (dict "root" . "part" "collector") }}{{ include "sightline.experiments.tokensName" . }}{{ end }}
{{- end }}
{{- end }}

{{- define "sightline.experiments.tokensName" -}}
{{- include "sightline.componentName" (dict "root" . "component" "collector-tokens") }}
{{- end }}

{{/* What a caller of the collector sends: the token of its one right. Takes (dict "root" $ "right" "exposures"). */}}
{{- define "sightline.experiments.tokenEnv" -}}
{{- with include "sightline.experiments.tokensSecret" .root }}
- name: SIGHTLINE_COLLECTOR_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.right }}}
{{- end }}
{{- end }}

{{/*
The key of inference over HTTP, for Triton and for the controller, which warms candidates so: beside the tokens. A Secret of yours may leave
it out: then nobody has the key, and a candidate waits to be warmed. Triton's pods name it without experiments, too, so that these can be
switched on without restarting them: candidates are pods of their own. Takes (dict "root" $ "name" VARIABLE).
*/}}
{{- define "sightline.experiments.inferenceKeyEnv" -}}
{{- $name := .root.Values.experiments.collector.tokens.existingSecret | default (include "sightline.experiments.tokensName" .root) }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ $name }}, key: inference, optional: true}
{{- end }}

{{/* The key of those who may name the arm that answers (x-sightline-arm). Without it, or where a Secret of yours leaves it out, nobody may. */}}
{{- define "sightline.experiments.armKeyEnv" -}}
{{- with include "sightline.experiments.tokensSecret" . }}
- name: SIGHTLINE_ARM_KEY
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: arm, optional: true}
{{- end }}
{{- end }}

{{/* All rights, for the collector itself. A Secret of yours may leave out `forget`: then nobody can delete. */}}
{{- define "sightline.experiments.tokensEnv" -}}
{{- range list "outcomes" "exposures" "evidence" "forget" }}
- name: SIGHTLINE_COLLECTOR_{{ upper . }}_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ include "sightline.experiments.tokensSecret" $ }}, key: {{ . }}{{ if eq . "forget" }}, optional: true{{ end }}}
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

{{/* Whose the definition of Experiments is, where it is another release's or nobody's that Helm knows: Helm would refuse to take it over. */}}
{{- define "sightline.experiments.foreignCrd" -}}
{{- $living := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "experiments.sightline.dev" }}
{{- if $living }}
{{- $annotations := $living.metadata.annotations | default dict }}
{{- $name := get $annotations "meta.helm.sh/release-name" }}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" }}
{{- if or (ne $name .Release.Name) (ne $namespace .Release.Namespace) }}
{{- ternary (printf "of the release %s in the namespace %s" $name $namespace) "of no release" (ne $name "") }}
{{- end }}
{{- end }}
{{- end }}
