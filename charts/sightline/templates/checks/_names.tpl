{{/*
What the schema cannot say: combinations that Kubernetes, KServe or KubeRay would refuse late, or ignore silently. Each template
writes a line per fault, with the value's path, what is wrong and what to do; `checks.yaml` fails with all of them at once.
*/}}

{{- define "sightline.checks.names" -}}
{{- $name := include "sightline.fullname" . }}
{{- if gt (len $name) 36 }}
- fullnameOverride: object names begin with {{ $name | quote }}, which has {{ len $name }} characters; KubeRay allows 47 for a RayService and Kubernetes 63 for a Service, so at most 36 are possible here. Set fullnameOverride to something shorter.
{{- end }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
- fullnameOverride: object names begin with {{ $name | quote }}; Service names need small letters, digits and '-', and a letter first. Set fullnameOverride.
{{- end }}
{{- if .Chart.IsRoot }}
{{- if not .Values.enabled }}
- enabled: it is false, which is for a chart that has this one as a part and asks for it (condition: sightline.enabled). Leave it true here; helm uninstall {{ .Release.Name }} removes an installation.
{{- end }}
{{- range $key := without (keys .Values.global | sortAlpha) "imageRegistry" "imagePullSecrets" "logs" "pod" }}
- global.{{ $key }}: there is no such value; known are imageRegistry, imagePullSecrets, logs and pod. Correct or remove it.
{{- end }}
{{- end }}
{{- range $role, $image := omit .Values.images "pullPolicy" "requireDigest" }}
{{- if and (eq $image.tag "latest") (not $image.digest) }}
- images.{{ $role }}.tag: "latest" names another image every week, and pods of one role would differ. Give a version, or a digest.
{{- end }}
{{- if and $image.tagSuffix (or $image.tag $image.digest) (ne $role "triton") }}
- images.{{ $role }}.tagSuffix: it extends the default tag only, and a tag or a digest is given. Write the whole tag and leave tagSuffix empty.
{{- end }}
{{- end }}
{{- if not (or .Values.images.triton.tag .Values.images.triton.digest) }}
- images.triton.tag: it is empty, and NVIDIA's Triton does not have our version numbers. Give a tag such as 26.06-py3, or a digest.
{{- end }}
{{- end }}

{{/* Takes "path" and "autoscaling" of a role. */}}
{{- define "sightline.checks.bounds" -}}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) }}
- {{ .path }}: minReplicas {{ .autoscaling.minReplicas }} is above maxReplicas {{ .autoscaling.maxReplicas }}. Raise maxReplicas.
{{- end }}
{{- end }}

{{/* An autoscaler by CPU divides by the request. Takes "path", "autoscaling", "resources" (and its path, "at"). */}}
{{- define "sightline.checks.cpuScaling" -}}
{{- include "sightline.checks.bounds" . }}
{{- if and .autoscaling.enabled (eq (.autoscaling.by | default "hpa") "hpa") (not (dig "requests" "cpu" "" .resources)) }}
- {{ .at }}.requests.cpu: it is missing, and {{ .path }} scales by CPU in percent of it. Give a request.
{{- end }}
{{- end }}
