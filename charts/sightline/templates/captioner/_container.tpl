{{/*
The captioner's container, without its name, for the Deployment and for Ray's pods. Takes root, "pod" (of the role, or of a
group of Ray's pods over it) and "resources".
*/}}
{{- define "sightline.captioner.container" -}}
image: {{ include "sightline.image" (dict "root" .root "name" "captioner") }}
imagePullPolicy: {{ include "sightline.pullPolicy" .root }}
env:
  {{- include "sightline.pod.env" (merge (dict "own" (include "sightline.captioner.env" .root)) .) | nindent 2 }}
{{- with include "sightline.pod.envFrom" . }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
{{ include "sightline.pod.lifecycle" .root.Values.captioner.preStopSeconds }}
resources:
  {{- toYaml .resources | nindent 2 }}
securityContext:
  {{- include "sightline.containerSecurityContext" . | nindent 2 }}
{{- end }}

{{/* Seconds until the pod is killed: preStop, the work in progress, and some for Ray's end. */}}
{{- define "sightline.captioner.killSeconds" -}}
{{- add .Values.captioner.preStopSeconds (ceil (.Values.captioner.settings.shutdown_s | default 10)) 20 }}
{{- end }}

{{- define "sightline.captioner.env" -}}
# The root file system is read-only: caches go to /tmp.
- {name: HOME, value: /tmp}
# No telemetry.
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
# Ray gives its proxies three times 5 s to become ready, too little on a busy node.
- {name: RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S, value: "60"}
- {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
# Ray's proxies bound what clients send, and answer it in this service's form.
- {name: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, value: serving.captioner.proxy.bound_proxy}
{{- end }}
