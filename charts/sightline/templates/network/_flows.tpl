{{/*
Who talks to whom, as a table: per role, what comes in and what goes out. `roles` are the release's own pods, `peers` a list of
values.yaml (networkPolicy.<peers>), `ports` the pods' ports; no ports means all. Context: root.
*/}}
{{- define "sightline.network.flows" -}}
{{- $ray := eq .Values.captioner.mode "rayservice" -}}
{{- $collocated := include "sightline.ranker.collocated" . -}}
{{- $front := ternary "ranker" "transformer" (eq $collocated "true") -}}
{{- if has .Values.captioner.mode (list "deployment" "rayservice") }}
captioner:
  in:
    - {roles: [bootstrap, backfill, test], ports: [8000]}
    {{- if .Values.networkPolicy.captionerClients }}
    - {peers: captionerClients, ports: [8000]}
    {{- end }}
    - {peers: monitoring, ports: [8000]}
    {{- if $ray }}
    # Ray's own ports (6379, 8265, 10001, object transfer, workers) are for the pods of this Ray alone, and 8265 for its operator.
    - {roles: [captioner]}
    - {peers: rayOperator, ports: [8000, 8265]}
    {{- end }}
  out:
    {{- if $ray }}
    - {roles: [captioner]}
    {{- include "sightline.network.kubeApi" . | nindent 4 }}
    {{- end }}
    {{- include "sightline.network.captionerOut" . | nindent 4 }}
{{- end }}
{{- if not $collocated }}
transformer:
  in:
    {{- include "sightline.network.clients" . | nindent 4 }}
  out:
    {{- if ne .Values.ranker.mode "external" }}
    - {roles: [ranker], ports: [9000]}
    {{- end }}
    {{- include "sightline.network.itemsOut" . | nindent 4 }}
    {{- include "sightline.network.external" (dict "root" . "when" (or (include "sightline.network.fetches" .) (include "sightline.network.fetchesCandidates" .))) | nindent 4 }}
    {{- include "sightline.network.experimentsOut" . | nindent 4 }}
    {{- include "sightline.network.external" (dict "root" . "when" (eq .Values.ranker.mode "external") "place" "ranker" "port" (include "sightline.network.port" (printf "tcp://%s" .Values.ranker.externalHost))) | nindent 4 }}
{{- end }}
{{- if ne .Values.ranker.mode "external" }}
ranker:
  in:
    {{- if $collocated }}
    {{- include "sightline.network.clients" . | nindent 4 }}
    {{- else }}
    - {roles: [transformer], ports: [9000]}
    - {roles: [test], ports: [8080]}
    {{- if and (eq .Values.ranker.mode "inferenceservice") (include "sightline.experiments.runs" (dict "root" . "part" "controller")) }}
    # A candidate has the ranker's labels there, and is warmed.
    - {roles: [controller], ports: [8080]}
    {{- end }}
    {{- end }}
    - {peers: monitoring, ports: [8002]}
  out:
    {{- if $collocated }}
    {{- include "sightline.network.itemsOut" . | nindent 4 }}
    {{- end }}
    {{- include "sightline.network.external" (dict "root" . "when" (include "sightline.network.fetches" .)) | nindent 4 }}
{{- end }}
{{- if include "sightline.items.bundled" . }}
items:
  in:
    - {roles: [{{ $front }}, bootstrap, backfill{{ if include "sightline.network.controllerUsesRedis" . }}, controller{{ end }}], ports: [6379]}
{{- end }}
{{- if .Values.experiments.enabled }}
{{ include "sightline.network.experimentFlows" . }}
{{- end }}
{{ include "sightline.network.jobFlows" . }}
{{- if .Values.tests.enabled }}
test:
  out:
    - {roles: [{{ $front }}], ports: [8080, 8081]}
    - {roles: [captioner], ports: [8000]}
    - {roles: [ranker], ports: [8080]}
    {{- include "sightline.network.captionerUse" . | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "sightline.network.jobFlows" -}}
{{- $remote := list .Values.jobs.store.uri .Values.jobs.data .Values.jobs.captions .Values.jobs.recipe.name | join " " | contains "://" -}}
{{- $external := include "sightline.network.external" (dict "root" . "when" $remote) -}}
{{- $published := include "sightline.network.external" (dict "root" . "when" (or $remote (contains "://" .Values.jobs.publish.bundle))) -}}
{{- /* A catalogue of one's own may name its pictures by URL. */ -}}
{{- $pictures := include "sightline.network.external" (dict "root" . "when" (or $remote (not (hasPrefix "/opt/sightline/" .Values.jobs.data)))) -}}
bootstrap:
  out:
    - {roles: [captioner], ports: [8000]}
    {{- include "sightline.network.captionerUse" . | nindent 4 }}
    {{- include "sightline.network.itemsOut" . | nindent 4 }}
backfill:
  out:
    - {roles: [captioner], ports: [8000]}
    {{- include "sightline.network.captionerUse" . | nindent 4 }}
    {{- include "sightline.network.itemsOut" . | nindent 4 }}
    {{- $pictures | nindent 4 }}
train:
  # Processes that train together choose ports of their own for gradients.
  in:
    - {roles: [train]}
  out:
    - {roles: [train]}
    {{- $external | nindent 4 }}
lift:
  out:
    {{- $external | nindent 4 }}
publish:
  out:
    {{- $published | nindent 4 }}
{{- end -}}
