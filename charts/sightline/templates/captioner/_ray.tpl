{{/* What Ray Serve runs. Batch settings go into user_config alone: they change without a restart of the model. Context: root. */}}
{{- define "sightline.captioner.serveConfig" -}}
{{- $settings := .Values.captioner.settings }}
{{- $batch := dict "max_batch_size" 64 "batch_wait_s" 0.01 }}
{{- range $name, $value := pick $settings "max_batch_size" "batch_wait_s" }}
{{- $_ := set $batch $name $value }}
{{- end }}
proxy_location: EveryNode
{{- $tls := ternary ", ssl_certfile: /etc/sightline/tls/tls.crt, ssl_keyfile: /etc/sightline/tls/tls.key" "" (eq (include "sightline.tls.shows" (dict "root" . "part" "captioner")) "true") }}
http_options: {host: 0.0.0.0, port: 8000{{ $tls }}}
logging_config:
  enable_access_log: false
  {{- if ne .Values.global.logs.level "info" }}
  log_level: {{ upper .Values.global.logs.level }}
  {{- end }}
  {{- if ne .Values.global.logs.format "text" }}
  encoding: {{ upper .Values.global.logs.format }}
  {{- end }}
applications:
  - name: captioner
    route_prefix: /
    import_path: serving.captioner.app:build
    args:
      {{- toYaml (omit $settings "max_batch_size" "batch_wait_s") | nindent 6 }}
    deployments:
      - name: CaptionModel
        user_config:
          {{- toYaml $batch | nindent 10 }}
{{- end }}

{{/*
A pod of the Ray cluster: labels, annotations and spec. Takes root, "group" (its values), "ray" (head or worker).
KubeRay would add probes that need bash and wget; these ask the same over HTTP. It gives the container /dev/shm and `ray start`.
*/}}
{{- define "sightline.captioner.rayPod" -}}
{{- $captioner := .root.Values.captioner }}
{{- $pod := mergeOverwrite (deepCopy $captioner.pod) .group.pod }}
{{- $role := dict "root" .root "component" "captioner" "pod" $pod }}
{{- $token := and (eq .ray "head") $captioner.rayService.autoscaling.enabled }}
metadata:
  labels:
    {{- include "sightline.pod.labels" $role | nindent 4 }}
  {{- with include "sightline.pod.annotations" $role }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  {{- include "sightline.pod.spec" (merge (dict "token" $token "graceSeconds" (include "sightline.captioner.killSeconds" .root)) $role) | nindent 2 }}
  containers:
    - name: ray-{{ .ray }}
      {{- include "sightline.captioner.container" (merge (dict "resources" .group.resources) $role) | nindent 6 }}
      ports:
        {{- if eq .ray "head" }}
        - {name: gcs-server, containerPort: 6379, protocol: TCP}
        - {name: dashboard, containerPort: 8265, protocol: TCP}
        - {name: client, containerPort: 10001, protocol: TCP}
        {{- end }}
        - {name: serve, containerPort: 8000, protocol: TCP}
        - {name: metrics, containerPort: 8080, protocol: TCP}
      startupProbe:
        httpGet: {path: /api/healthz, port: 52365}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 60
      readinessProbe:
        {{- if eq .ray "head" }}
        httpGet: {path: /api/healthz, port: 52365}
        timeoutSeconds: 5
        {{- else }}
        # The Serve proxy; a worker without replicas has none and gets no requests.
        httpGet: {path: /-/healthz, port: serve{{ if include "sightline.tls.shows" (dict "root" .root "part" "captioner") }}, scheme: HTTPS{{ end }}}
        timeoutSeconds: 5
        failureThreshold: 1
        {{- end }}
        periodSeconds: 5
      livenessProbe:
        httpGet: {path: /api/healthz, port: 52365}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 120
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- with include "sightline.tls.mount" (dict "root" .root "part" "captioner") }}
        {{- . | trim | nindent 8 }}
        {{- end }}
        {{- with include "sightline.pod.volumeMounts" $role }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- with include "sightline.tls.volume" (dict "root" .root "part" "captioner") }}
    {{- . | trim | nindent 4 }}
    {{- end }}
    {{- with include "sightline.pod.volumes" $role }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* A group of workers. Takes root, "name", "group". */}}
{{- define "sightline.captioner.rayWorkers" -}}
{{- if gt (int .group.maxReplicas) 0 }}
- groupName: {{ .name }}
  replicas: {{ .group.minReplicas }}
  minReplicas: {{ .group.minReplicas }}
  maxReplicas: {{ .group.maxReplicas }}
  # What KubeRay fills in: a list that Helm wrote without them would be refused at every second upgrade.
  numOfHosts: 1
  priority: 0
  scaleStrategy: {}
  rayStartParams: {{ include "sightline.captioner.rayGpus" .group.resources }}
  template:
    {{- include "sightline.captioner.rayPod" (dict "root" .root "group" .group "ray" "worker") | trim | nindent 4 }}
{{- end }}
{{- end }}

{{/* KubeRay tells Ray of GPUs whose name ends with "gpu" alone: nvidia.com/gpu.shared and nvidia.com/mig-1g.5gb would be none. Takes resources. */}}
{{- define "sightline.captioner.rayGpus" -}}
{{- $gpus := 0 }}
{{- range $name, $count := (.limits | default dict) }}
{{- if regexMatch "/(gpu|mig-)" $name }}{{ $gpus = add $gpus (int (toString $count)) }}{{ end }}
{{- end }}
{{- if $gpus }}{num-gpus: {{ toString $gpus | quote }}}{{ else }}{}{{ end }}
{{- end }}

{{- define "sightline.captioner.rayAutoscaler" -}}
{{- $autoscaling := .Values.captioner.rayService.autoscaling }}
version: v2
upscalingMode: Default
idleTimeoutSeconds: {{ $autoscaling.idleSeconds }}
imagePullPolicy: {{ include "sightline.pullPolicy" . }}
resources:
  {{- toYaml $autoscaling.resources | nindent 2 }}
securityContext:
  {{- include "sightline.containerSecurityContext" (dict "root" . "component" "captioner" "pod" .Values.captioner.pod) | nindent 2 }}
env:
  - {name: HOME, value: /tmp}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- end }}
