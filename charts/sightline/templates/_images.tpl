{{/* Full reference of an image. Takes (dict "root" $ "name" "captioner"); a digest wins over a tag. */}}
{{- define "sightline.image" -}}
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

{{- define "sightline.imagePullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}{{ toYaml . }}{{ end }}
{{- end }}
