{{/* The pod of a Job, with its metadata. Takes what sightline.job takes. */}}
{{- define "sightline.job.pod" -}}
{{- $role := dict "root" .root "component" .kind "pod" .pod "account" .account "accountName" .accountName "graceSeconds" .graceSeconds -}}
metadata:
  labels:
    {{- include "sightline.pod.labels" $role | nindent 4 }}
  annotations:
    # Tools that pack nodes tighter would otherwise end a Job that has run for hours.
    cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
    {{- with include "sightline.pod.annotations" $role }}
    {{- . | nindent 4 }}
    {{- end }}
spec:
  restartPolicy: Never
  {{- include "sightline.pod.spec" $role | nindent 2 }}
  {{- if .torchrun }}
  subdomain: {{ include "sightline.componentName" $role }}
  {{- end }}
  containers:
    - name: {{ .kind }}
      {{- include "sightline.job.container" . | nindent 6 }}
  volumes:
    {{- include "sightline.job.volumes" . | nindent 4 }}
    {{- with include "sightline.pod.volumes" $role }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "sightline.job.container" -}}
{{- $role := dict "root" .root "component" .kind "pod" .pod -}}
image: {{ include "sightline.image" (dict "root" .root "name" "trainer") }}
imagePullPolicy: {{ include "sightline.pullPolicy" .root }}
command: [python]
args:
  {{- toYaml .args | nindent 2 }}
env:
  {{- include "sightline.pod.env" (merge (dict "own" (include "sightline.job.env" .)) $role) | nindent 2 }}
{{- $secret := .credentialsSecret | default "" }}
{{- $more := include "sightline.pod.envFrom" $role }}
{{- if or $secret $more }}
envFrom:
  {{- with $secret }}
  - secretRef: {name: {{ . }}}
  {{- end }}
  {{- with $more }}
  {{- . | trim | nindent 2 }}
  {{- end }}
{{- end }}
{{- if .torchrun }}
ports:
  - {name: rendezvous, containerPort: 29500}
{{- end }}
terminationMessagePath: /dev/termination-log
terminationMessagePolicy: FallbackToLogsOnError
resources:
  {{- include "sightline.job.resources" . | nindent 2 }}
securityContext:
  {{- include "sightline.containerSecurityContext" $role | nindent 2 }}
volumeMounts:
  {{- include "sightline.job.mounts" . | nindent 2 }}
  {{- with include "sightline.pod.volumeMounts" $role }}
  {{- . | trim | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "sightline.job.env" -}}
- name: JOB_NAME
  valueFrom:
    fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}
{{- with ternary (include "sightline.model.trustEnv" .root | trim) "" (eq .kind "publish") }}
{{- . | nindent 0 }}
{{- end }}
{{- if and .root.Values.model.signingSecret (has .kind (list "train" "publish")) }}
- name: SIGHTLINE_SIGNING_KEY
  valueFrom:
    secretKeyRef: {name: {{ .root.Values.model.signingSecret }}, key: key.pem}
{{- end }}
{{- with .env }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- if .items }}
{{- with list (include "sightline.items.writerEnv" .root) (include "sightline.tls.env" (dict "root" .root "part" "captioner")) | join "\n" | trim }}
{{- . | nindent 0 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sightline.job.resources" -}}
{{- $resources := deepCopy .values.resources -}}
{{- with ternary 0 .values.gpus (eq (include "sightline.gpu" $resources) "true") -}}
{{- $_ := set $resources "limits" (merge (dict "nvidia.com/gpu" .) ($resources.limits | default dict)) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
