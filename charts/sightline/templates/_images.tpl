{{/* Full reference of an image that is installed. Takes (dict "root" $ "name" "captioner"); a digest wins over a tag. */}}
{{- define "sightline.image" -}}
{{- if and .root.Values.images.requireDigest (not (index .root.Values.images .name).digest) }}
{{- $lacking := list }}
{{- range $name, $each := omit .root.Values.images "pullPolicy" "requireDigest" }}
{{- if not $each.digest }}{{ $lacking = append $lacking (printf "images.%s" $name) }}{{ end }}
{{- end }}
{{- fail (printf "\n\nimages.requireDigest is true, and images.%s is installed without a digest. Without one are: %s.\nWrite the digests of those that these values install, and give helm the file after yours:\n  make pin-images VALUES=\"your values files\" OUT=digests.yaml\n" .name (join ", " $lacking)) }}
{{- end }}
{{- include "sightline.image.reference" . }}
{{- end }}

{{- define "sightline.image.reference" -}}
{{- $image := index .root.Values.images .name }}
{{- $registry := .root.Values.global.imageRegistry | default $image.registry }}
{{- $repository := ternary (printf "%s/%s" (trimSuffix "/" $registry) $image.repository) $image.repository (ne $registry "") }}
{{- if $image.digest }}
{{- printf "%s@%s" $repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $repository ($image.tag | default (printf "%s%s" .root.Chart.AppVersion $image.tagSuffix)) }}
{{- end }}
{{- end }}

{{- define "sightline.pullPolicy" -}}
{{- .Values.images.pullPolicy }}
{{- end }}

{{/* By name, or as Kubernetes has them: other charts share this value of `global`, and both forms are customary. */}}
{{- define "sightline.imagePullSecrets" -}}
{{- range .Values.global.imagePullSecrets }}
- name: {{ if kindIs "string" . }}{{ . }}{{ else }}{{ .name }}{{ end }}
{{- end }}
{{- end }}
