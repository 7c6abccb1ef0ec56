{{/*
Triton, without the container's name. `sightline.ranker.python` is our image, `sightline.ranker.triton` NVIDIA's. Context: root.
*/}}

{{- define "sightline.ranker.python" -}}
image: {{ include "sightline.image" (dict "root" . "name" "ranker") }}
imagePullPolicy: {{ include "sightline.pullPolicy" . }}
command: [python, -m, serving.ranker.run]
args:
  - --bundle={{ include "sightline.model.path" (dict "root" . "layout" "bundle") }}
  - --model-name={{ .Values.model.name }}
  - --host=0.0.0.0
  - --grpc-port=9000
  - --http-port={{ include "sightline.ranker.httpPort" . }}
  - --metrics-port=8002
  - --work-dir=/tmp/ranker
  - --exit-timeout-seconds={{ .Values.ranker.graceSeconds }}
  - --connection-age-seconds={{ include "sightline.ranker.connectionAge" . }}
  {{- if include "sightline.gpu" .Values.ranker.resources }}
  - --device=gpu
  {{- end }}
  {{- if include "sightline.tls.shows" (dict "root" . "part" "ranker") }}
  - --tls-certificate=/etc/sightline/tls/tls.crt
  - --tls-key=/etc/sightline/tls/tls.key
  {{- end }}
  {{- if .Values.model.force }}
  - --force=true
  {{- end }}
  {{- if .Values.ranker.openInference }}
  - --open-inference=true
  {{- end }}
{{ include "sightline.ranker.rest" (dict "root" . "layout" "bundle") | trim }}
{{- end }}

{{/*
The connection age makes gRPC clients look the pods' addresses up again, and so find new pods. Loading runs a model's code for whoever
asks, and the other APIs look into the server: nothing is loaded after the start, and the key of the rest is made at each start and told
to nobody, as our own image does. Nothing here uses them; a Secret would only be one more thing to steal. Inference over HTTP wants a key,
too, as some bodies of such calls end Triton: the controller has one, for candidates.
*/}}
{{- define "sightline.ranker.triton" -}}
{{- $restricted := "model-repository,shared-memory,statistics,trace,logging:x-sightline-triton-key=$key" -}}
image: {{ include "sightline.image" (dict "root" . "name" "triton") }}
imagePullPolicy: {{ include "sightline.pullPolicy" . }}
command:
  - sh
  - -ec
  - |
    key=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    [ "${#key}" -eq 64 ] || { echo "no random key can be made from /dev/urandom" >&2; exit 1; }
    exec tritonserver "$@" --http-restricted-api={{ $restricted }} --grpc-restricted-protocol={{ $restricted }}
    {{- if not .Values.ranker.openInference }} --http-restricted-api=inference:x-sightline-triton-key=${SIGHTLINE_RANKER_INFERENCE_KEY:-$key}{{ end }}
  - tritonserver
args:
  - --model-repository=/mnt/models
  - --grpc-port=9000
  - --http-port={{ include "sightline.ranker.httpPort" . }}
  - --metrics-port=8002
  - --disable-auto-complete-config
  - --exit-timeout-secs={{ .Values.ranker.graceSeconds }}
  - --grpc-max-connection-age={{ include "sightline.ranker.connectionAge" . }}000
  - --model-control-mode=none
  {{- range get (dict "info" list "debug" (list "--log-verbose=1") "warning" (list "--log-info=false") "error" (list "--log-info=false" "--log-warning=false")) .Values.global.logs.level }}
  - {{ . }}
  {{- end }}
  {{- if include "sightline.tls.shows" (dict "root" . "part" "ranker") }}
  - --grpc-use-ssl=true
  - --grpc-server-cert=/etc/sightline/tls/tls.crt
  - --grpc-server-key=/etc/sightline/tls/tls.key
  {{- end }}
{{ include "sightline.ranker.rest" (dict "root" . "layout" "repository") | trim }}
{{- end }}

{{/* What both have. KServe makes only the first port its Service's port 80: gRPC comes first. */}}
{{- define "sightline.ranker.rest" -}}
{{- $ranker := .root.Values.ranker }}
{{- $pod := dict "root" .root "component" "ranker" "pod" $ranker.pod }}
{{- $http := ternary "triton-http" "http" (eq (include "sightline.ranker.collocated" .root) "true") }}
{{- $trust := ternary (include "sightline.model.trustEnv" .root | trim) "" (eq .layout "bundle") }}
{{- $key := include "sightline.experiments.inferenceKeyEnv" (dict "root" .root "name" "SIGHTLINE_RANKER_INFERENCE_KEY") | trim }}
{{- with include "sightline.pod.env" (merge (dict "own" (without (list $trust $key) "" | join "\n")) $pod) }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "sightline.pod.envFrom" $pod }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
ports:
  - {name: h2c, containerPort: 9000, protocol: TCP}
  - {name: {{ $http }}, containerPort: {{ include "sightline.ranker.httpPort" .root }}, protocol: TCP}
  - {name: metrics, containerPort: 8002, protocol: TCP}
startupProbe:
  httpGet: {path: /v2/health/ready, port: {{ $http }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ include "sightline.startTries" $ranker.startMinutes }}
readinessProbe:
  httpGet: {path: /v2/health/ready, port: {{ $http }}}
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet: {path: /v2/health/live, port: {{ $http }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{ include "sightline.pod.lifecycle" $ranker.preStopSeconds }}
resources:
  {{- toYaml $ranker.resources | nindent 2 }}
securityContext:
  {{- include "sightline.containerSecurityContext" $pod | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: shm, mountPath: /dev/shm}
  {{- with include "sightline.tls.mount" (dict "root" .root "part" "ranker") }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- if not (include "sightline.ranker.kserveStorage" .root) }}
  {{- with include "sightline.model.volumeMounts" . }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- end }}
  {{- with include "sightline.pod.volumeMounts" $pod }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What a mesh or gateway may know of Triton's gRPC port: it is no clear text where it speaks TLS. */}}
{{- define "sightline.ranker.appProtocol" -}}
{{- if not (include "sightline.tls.shows" (dict "root" . "part" "ranker")) }}, appProtocol: kubernetes.io/h2c{{ end }}
{{- end }}

{{/* Whether KServe's storage initializer brings the model, and no init container of ours. */}}
{{- define "sightline.ranker.kserveStorage" -}}
{{- if and (eq .Values.ranker.mode "inferenceservice") (eq .Values.ranker.inferenceService.storage "kserve") }}true{{ end }}
{{- end }}

{{/* What init containers bring into Triton's pod: a repository for NVIDIA's image, a bundle for ours and for the transformer beside it. */}}
{{- define "sightline.ranker.layouts" -}}
{{- $layouts := list }}
{{- $triton := and (eq .Values.ranker.mode "inferenceservice") (eq .Values.ranker.inferenceService.runtime "triton") }}
{{- if and $triton (not (include "sightline.ranker.kserveStorage" .)) }}
{{- $layouts = append $layouts "repository" }}
{{- end }}
{{- if or (not $triton) (include "sightline.ranker.collocated" .) }}
{{- $layouts = append $layouts "bundle" }}
{{- end }}
{{- toYaml $layouts }}
{{- end }}

{{/*
Seconds: half of preStop. When a pod ends, its gRPC clients have looked the addresses up again and gone before Triton refuses calls, which
it does for two seconds on the connections that are left.
*/}}
{{- define "sightline.ranker.connectionAge" -}}
{{- max 1 (div .Values.ranker.preStopSeconds 2) }}
{{- end }}

{{/* Seconds until the pod is killed: preStop, the calls in progress, and some for leaving. */}}
{{- define "sightline.ranker.killSeconds" -}}
{{- add .Values.ranker.preStopSeconds .Values.ranker.graceSeconds 10 }}
{{- end }}

{{- define "sightline.ranker.volumes" -}}
- name: tmp
  emptyDir: {}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ .Values.ranker.shmSize }}}
{{- with include "sightline.tls.volume" (dict "root" . "part" "ranker") }}
{{ . | trim }}
{{- end }}
{{- with include "sightline.pod.volumes" (dict "root" . "component" "ranker" "pod" .Values.ranker.pod) }}
{{ . }}
{{- end }}
{{- end }}

{{- define "sightline.ranker.labels" -}}
{{ include "sightline.pod.labels" (dict "root" . "component" "ranker" "pod" .Values.ranker.pod) }}
sightline/model: {{ include "sightline.model.id" . | quote }}
{{- end }}
