{{/* The controller's arguments, environment and rights. Context of all: root. */}}

{{- define "sightline.experiments.lease" -}}
{{- include "sightline.componentName" (dict "root" . "component" "controller") }}
{{- end }}

{{- define "sightline.experiments.controllerArgs" -}}
- --namespaces={{ .Release.Namespace }}
- --assignments={{ include "sightline.experiments.assignments" . }}
- --lease={{ include "sightline.experiments.lease" . }}
- --lease-namespace={{ .Release.Namespace }}
- --host=0.0.0.0
- --metrics-port=8095
- --health-port=8096
{{- $collectors := .Values.experiments.controller.collectors }}
{{- if include "sightline.experiments.runs" (dict "root" . "part" "collector") }}
{{- $name := include "sightline.componentName" (dict "root" . "component" "collector") }}
{{- $scheme := include "sightline.tls.http" (dict "root" . "part" "collector") }}
{{- range list "" (printf ".%s" .Release.Namespace) (printf ".%s.svc" .Release.Namespace) (printf ".%s.svc.cluster.local" .Release.Namespace) }}
{{- $collectors = append $collectors (printf "%s://%s%s:8090" $scheme $name .) }}
{{- end }}
{{- end }}
- {{ printf "--collectors=%s" (join "," $collectors) | quote }}
- {{ printf "--prometheus=%s" (join "," .Values.experiments.controller.prometheus) | quote }}
- {{ printf "--bundles=%s" (join "," .Values.experiments.candidates.places) | quote }}
{{- with include "sightline.experiments.candidateSecret" . }}
- --store-secret={{ . }}
{{- end }}
{{- end }}

{{/* Whose candidates are taken; the token of evidence and the key of inference; and the password of Redis, where the assignment is there. */}}
{{- define "sightline.experiments.controllerEnv" -}}
{{- include "sightline.model.trustEnv" . }}
{{- include "sightline.experiments.tokenEnv" (dict "root" . "right" "evidence") }}
{{- include "sightline.experiments.inferenceKeyEnv" (dict "root" . "name" "SIGHTLINE_OPERATOR_TRITON_KEY") }}
{{- include "sightline.tls.env" (dict "root" . "part" "collector") }}
{{- if eq .Values.experiments.assignments.via "redis" }}
{{- include "sightline.items.envAs" (dict "root" . "user" "controller" "prefix" "SIGHTLINE_OPERATOR_REDIS") }}
{{- if include "sightline.tls.shows" (dict "root" . "part" "items") }}
- {name: SIGHTLINE_OPERATOR_REDIS_CA_FILE, value: /etc/sightline/ca/items.crt}
{{- end }}
{{- end }}
{{- end }}

{{/* The parts that it calls over TLS: Triton's HTTP has none. For "sightline.tls.authorities". */}}
{{- define "sightline.experiments.controllerCalls" -}}
parts: {{ ternary (list "collector" "items") (list "collector") (eq .Values.experiments.assignments.via "redis") | toJson }}
{{- end }}

{{/*
What the controller may do, in its own namespace. Names are given where they are known before: not those of candidates. Deployments are
so open to it as a whole where candidates are Deployments: RBAC knows no labels.
*/}}
{{- define "sightline.experiments.controllerRules" -}}
{{- $ranker := include "sightline.componentName" (dict "root" . "component" "ranker") }}
# The experiments themselves: the finalizer, the state.
- {apiGroups: [sightline.dev], resources: [experiments], verbs: [get, list, watch, patch]}
- {apiGroups: [sightline.dev], resources: [experiments/status], verbs: [update]}
- {apiGroups: [""], resources: [events], verbs: [create]}
# One of several controllers acts. `create` cannot be held to a name.
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [{{ include "sightline.experiments.lease" . }}], verbs: [get, update]}
{{- if ne .Values.experiments.assignments.via "redis" }}
- {apiGroups: [""], resources: [configmaps], resourceNames: [{{ include "sightline.experiments.book" . }}], verbs: [get, update]}
{{- end }}
# The candidate: its headless Service, and why its pods are not ready.
- {apiGroups: [""], resources: [services], verbs: [get, list, create, patch, delete]}
- {apiGroups: [""], resources: [pods], verbs: [list]}
{{- if eq .Values.ranker.mode "inferenceservice" }}
- {apiGroups: [apps], resources: [deployments], verbs: [get]}
- {apiGroups: [serving.kserve.io], resources: [inferenceservices], resourceNames: [{{ $ranker }}], verbs: [get, patch]}
{{- else }}
- {apiGroups: [apps], resources: [deployments], verbs: [get, create, patch, delete]}
{{- end }}
{{- with .Values.experiments.controller.notificationSecrets }}
- {apiGroups: [""], resources: [secrets], resourceNames: {{ toJson . }}, verbs: [get]}
{{- end }}
{{- end }}
