{{/* Where the roles are reached from inside the namespace, by mode. All take the root. */}}

{{- define "sightline.captioner.url" -}}
{{- $name := include "sightline.componentName" (dict "root" . "component" "captioner") }}
{{- $scheme := include "sightline.tls.http" (dict "root" . "part" "captioner") }}
{{- if eq .Values.captioner.mode "external" }}
{{- .Values.captioner.externalUrl | trimSuffix "/" }}
{{- else if eq .Values.captioner.mode "rayservice" }}
{{- printf "%s://%s-serve-svc:8000" $scheme $name }}
{{- else if eq .Values.captioner.mode "deployment" }}
{{- printf "%s://%s:8000" $scheme $name }}
{{- end }}
{{- end }}

{{/* The Service in front of the transformer. KServe makes its own, and puts the first port of the container at 80. */}}
{{- define "sightline.transformer.service" -}}
{{- $ranker := include "sightline.componentName" (dict "root" . "component" "ranker") }}
{{- if ne .Values.ranker.mode "inferenceservice" }}
{{- include "sightline.componentName" (dict "root" . "component" "transformer") }}
{{- else if eq .Values.ranker.inferenceService.transformer "separate" }}
{{- printf "%s-transformer" $ranker }}
{{- else }}
{{- include "sightline.kserve.predictorName" . }}
{{- end }}
{{- end }}

{{/* KServe's name of the predictor's Deployment and Service; a promoted candidate brings its own name. */}}
{{- define "sightline.kserve.predictorName" -}}
{{- $ranker := include "sightline.componentName" (dict "root" . "component" "ranker") }}
{{- with .Values.ranker.inferenceService.predictorName }}
{{- printf "%s-%s-predictor" $ranker . }}
{{- else }}
{{- printf "%s-predictor" $ranker }}
{{- end }}
{{- end }}

{{- define "sightline.transformer.httpPort" -}}
{{- ternary 80 8080 (eq .Values.ranker.mode "inferenceservice") }}
{{- end }}

{{- define "sightline.transformer.httpUrl" -}}
{{- printf "http://%s:%s" (include "sightline.transformer.service" .) (include "sightline.transformer.httpPort" .) }}
{{- end }}

{{- define "sightline.transformer.grpcTarget" -}}
{{- printf "%s:8081" (include "sightline.transformer.service" .) }}
{{- end }}

{{/*
The headless Service is named after the model, and selects only pods that serve it: while a new model is rolled out, a
transformer never asks a Triton that serves another one.
*/}}
{{- define "sightline.ranker.headless" -}}
{{- printf "%s-headless-%s" (include "sightline.componentName" (dict "root" . "component" "ranker")) (include "sightline.model.id" .) }}
{{- end }}

{{/* Whether Triton shares its pods with the transformer. */}}
{{- define "sightline.ranker.collocated" -}}
{{- if and (eq .Values.ranker.mode "inferenceservice") (eq .Values.ranker.inferenceService.transformer "collocated") }}true{{ end }}
{{- end }}

{{/* Triton's HTTP port: next to the transformer it gives up 8080. */}}
{{- define "sightline.ranker.httpPort" -}}
{{- ternary 8088 8080 (eq (include "sightline.ranker.collocated" .) "true") }}
{{- end }}

{{/* Triton for the transformer: a headless Service, so that gRPC sees every pod and spreads its calls. */}}
{{- define "sightline.ranker.grpcTarget" -}}
{{- if eq .Values.ranker.mode "external" }}
{{- .Values.ranker.externalHost }}
{{- else if include "sightline.ranker.collocated" . }}
{{- "127.0.0.1:9000" }}
{{- else }}
{{- printf "%s:9000" (include "sightline.ranker.headless" .) }}
{{- end }}
{{- end }}

{{/* Triton's HTTP from other pods; empty where no Service has it (external, and next to the transformer). */}}
{{- define "sightline.ranker.httpUrl" -}}
{{- $ranker := include "sightline.componentName" (dict "root" . "component" "ranker") }}
{{- if eq .Values.ranker.mode "deployment" }}
{{- printf "http://%s:8080" $ranker }}
{{- else if and (eq .Values.ranker.mode "inferenceservice") (not (include "sightline.ranker.collocated" .)) }}
{{- printf "http://%s:8080" (include "sightline.kserve.predictorName" .) }}
{{- end }}
{{- end }}
