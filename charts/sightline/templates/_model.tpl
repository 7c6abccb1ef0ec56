{{/*
How the ranking model reaches a pod. The demo bundle is in our images; anything else is copied by an init container into an
empty volume, in one of two layouts: `bundle`, a bundle's folder for our own processes, and `repository`, which Triton reads.
The templates take (dict "root" $ "layout" "bundle"), or "layouts", a list.
*/}}

{{- define "sightline.model.demo" -}}
/opt/sightline/demo/bundles/ranker
{{- end }}

{{/* Eight characters that differ when the model may differ. The demo is part of the images. Takes the root. */}}
{{- define "sightline.model.id" -}}
{{- $demo := list (include "sightline.image.reference" (dict "root" . "name" "transformer")) (include "sightline.image.reference" (dict "root" . "name" "ranker")) }}
{{- $store := list .Values.model.uri .Values.ranker.inferenceService.storageUri }}
{{- ternary $store $demo (eq .Values.model.source "store") | join " " | sha256sum | trunc 8 }}
{{- end }}

{{/* Whether an init container copies it: Triton's own image has no demo. */}}
{{- define "sightline.model.fetched" -}}
{{- if or (eq .root.Values.model.source "store") (eq .layout "repository") }}true{{ end }}
{{- end }}

{{- define "sightline.model.folder" -}}
{{- ternary "/mnt/models" "/mnt/bundle" (eq .layout "repository") }}
{{- end }}

{{/* Where the main container finds it. */}}
{{- define "sightline.model.path" -}}
{{- if include "sightline.model.fetched" . }}{{ include "sightline.model.folder" . }}{{ else }}{{ include "sightline.model.demo" . }}{{ end }}
{{- end }}

{{/* The claim of pvc://claim/path. */}}
{{- define "sightline.model.claim" -}}
{{- if and (eq .root.Values.model.source "store") (hasPrefix "pvc://" .root.Values.model.uri) }}
{{- (trimPrefix "pvc://" .root.Values.model.uri | splitn "/" 2)._0 }}
{{- end }}
{{- end }}

{{/* What the init container reads; a claim is mounted at /mnt/store. */}}
{{- define "sightline.model.origin" -}}
{{- if eq .root.Values.model.source "demo" }}
{{- include "sightline.model.demo" . }}
{{- else if include "sightline.model.claim" . }}
{{- printf "/mnt/store/%s" (trimPrefix "pvc://" .root.Values.model.uri | splitn "/" 2)._1 }}
{{- else }}
{{- .root.Values.model.uri }}
{{- end }}
{{- end }}

{{/* Credentials of the model store, as environment of every process that opens it. Takes the root. */}}
{{- define "sightline.model.envFrom" -}}
{{- with .Values.model.credentialsSecret }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{/* Whose bundles are opened, and what is demanded of them (models/store/trust.py). For every process that opens one. Takes the root. */}}
{{- define "sightline.model.trustEnv" -}}
{{- $trust := .Values.model.trust }}
{{- $demanded := list (ternary "signature" "" $trust.required) (ternary "digest" "" $trust.requireDigest) }}
{{- with $trust.publicKeys }}
- {name: SIGHTLINE_TRUST_KEYS, value: {{ join "\n" . | quote }}}
{{- end }}
{{- with without $demanded "" }}
- {name: SIGHTLINE_TRUST_REQUIRE, value: {{ join "," . | quote }}}
{{- end }}
{{- end }}

{{/* They have the environment, the mounts and the security context of the role's main container. Takes the role's component and pod, too. */}}
{{- define "sightline.model.initContainers" -}}
{{- range .layouts }}
{{- $model := merge (dict "layout" .) (omit $ "layouts") }}
{{- if include "sightline.model.fetched" $model }}
{{ include "sightline.model.initContainer" $model }}
{{- end }}
{{- end }}
{{- end }}

{{- define "sightline.model.initContainer" -}}
- name: fetch-{{ .layout }}
  image: {{ include "sightline.image" (dict "root" .root "name" "transformer") }}
  imagePullPolicy: {{ include "sightline.pullPolicy" .root }}
  command: [sightline, models, fetch]
  args:
    - {{ include "sightline.model.origin" . | quote }}
    - --to={{ include "sightline.model.folder" . }}
    - --layout={{ .layout }}
    {{- if eq .layout "repository" }}
    - --platform=onnxruntime
    - --name={{ .root.Values.model.name }}
    {{- if include "sightline.gpu" .root.Values.ranker.resources }}
    - --device=gpu
    {{- end }}
    {{- if .root.Values.model.force }}
    - --force
    {{- end }}
    {{- end }}
  {{- with include "sightline.pod.env" (merge (dict "own" (include "sightline.model.trustEnv" .root)) .) }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with without (list (include "sightline.model.envFrom" .root | trim) (include "sightline.pod.envFrom" .)) "" | join "\n" }}
  envFrom:
    {{- . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .root.Values.model.fetchResources | nindent 4 }}
  securityContext:
    {{- include "sightline.containerSecurityContext" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: {{ .layout }}, mountPath: {{ include "sightline.model.folder" . }}}
    {{- if include "sightline.model.claim" . }}
    - {name: store, mountPath: /mnt/store, readOnly: true}
    {{- end }}
    {{- with include "sightline.pod.volumeMounts" . }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "sightline.model.volumes" -}}
{{- $root := .root }}
{{- $copies := list }}
{{- range .layouts }}
{{- if include "sightline.model.fetched" (dict "root" $root "layout" .) }}
{{- $copies = append $copies . }}
{{- end }}
{{- end }}
{{- range $copies }}
- name: {{ . }}
  emptyDir: {}
{{- end }}
{{- if and $copies (include "sightline.model.claim" .) }}
- name: store
  persistentVolumeClaim: {claimName: {{ include "sightline.model.claim" . }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "sightline.model.volumeMounts" -}}
{{- if include "sightline.model.fetched" . }}
- {name: {{ .layout }}, mountPath: {{ include "sightline.model.folder" . }}, readOnly: true}
{{- end }}
{{- end }}
