{{/* The part of the table in _flows.tpl that experiments need. Context of all: root. */}}

{{/* Whether candidates come over the network, which transformers and controller open themselves. */}}
{{- define "sightline.network.fetchesCandidates" -}}
{{- if and .Values.experiments.enabled (or (include "sightline.network.fetches" .) .Values.experiments.candidates.credentialsSecret) -}}true{{- end -}}
{{- end -}}

{{- define "sightline.network.controllerUsesRedis" -}}
{{- if and (include "sightline.experiments.runs" (dict "root" . "part" "controller")) (eq .Values.experiments.assignments.via "redis") -}}true{{- end -}}
{{- end -}}

{{- define "sightline.network.kubeApi" -}}
- {peers: kubeApi, ports: {{ .Values.networkPolicy.kubeApi.ports | toJson }}}
{{- end -}}

{{/* What transformers reach beside stable's Triton: the candidate's, the assignment, and where exposures go. */}}
{{- define "sightline.network.experimentsOut" -}}
{{- if .Values.experiments.enabled }}
{{- if eq .Values.ranker.mode "deployment" }}
- {roles: [candidate], ports: [9000]}
{{- end }}
{{- if include "sightline.experiments.transformerAsksApi" . }}
{{ include "sightline.network.kubeApi" . }}
{{- end }}
{{- if include "sightline.experiments.collects" . }}
- {roles: [collector], ports: [8090]}
{{- else if and (contains "://" (.Values.experiments.exposures.url | trimPrefix "file://")) (not (include "sightline.items.stream" .)) }}
{{- include "sightline.network.external" (dict "root" . "when" true "place" "exposures" "port" (include "sightline.network.port" .Values.experiments.exposures.url)) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A candidate of KServe has the ranker's labels, and the ranker's policy; one of a Deployment has this one. */}}
{{- define "sightline.network.experimentFlows" -}}
{{- if eq .Values.ranker.mode "deployment" }}
candidate:
  in:
    - {roles: [transformer], ports: [9000]}
    - {roles: [controller], ports: [8080]}
    - {peers: monitoring, ports: [8002]}
  out:
    {{- include "sightline.network.external" (dict "root" . "when" (include "sightline.network.fetchesCandidates" .)) | nindent 4 }}
{{- end }}
{{- if include "sightline.experiments.runs" (dict "root" . "part" "collector") }}
collector:
  in:
    - {roles: [transformer, controller], ports: [8090]}
    {{- if .Values.networkPolicy.outcomeClients }}
    - {peers: outcomeClients, ports: [8090]}
    {{- end }}
    - {peers: monitoring, ports: [8091]}
{{- end }}
{{- if include "sightline.experiments.runs" (dict "root" . "part" "controller") }}
controller:
  in:
    - {peers: monitoring, ports: [8095]}
  out:
    {{- include "sightline.network.kubeApi" . | nindent 4 }}
    - {roles: [{{ ternary "ranker" "candidate" (eq .Values.ranker.mode "inferenceservice") }}], ports: [8080]}
    - {roles: [collector], ports: [8090]}
    {{- if .Values.networkPolicy.prometheus.to }}
    - {peers: prometheus, ports: {{ .Values.networkPolicy.prometheus.ports | toJson }}}
    {{- end }}
    {{- if include "sightline.network.controllerUsesRedis" . }}
    {{- include "sightline.network.itemsOut" . | nindent 4 }}
    {{- end }}
    {{- /* The model store, and the webhooks of notifications. */ -}}
    {{- $away := or (include "sightline.network.fetchesCandidates" .) .Values.experiments.controller.notificationSecrets }}
    {{- include "sightline.network.external" (dict "root" . "when" $away) | nindent 4 }}
{{- end }}
{{- if include "sightline.experiments.runs" (dict "root" . "part" "verdict") }}
verdict:
  in:
    {{- if .Values.networkPolicy.verdictClients }}
    - {peers: verdictClients, ports: [8097]}
    {{- end }}
    - {peers: monitoring, ports: [8097]}
  out:
    {{- include "sightline.network.kubeApi" . | nindent 4 }}
{{- end }}
{{- end -}}
