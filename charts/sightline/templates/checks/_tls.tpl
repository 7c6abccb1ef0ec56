{{- define "sightline.checks.tls" -}}
{{- $tls := .Values.tls }}
{{- $external := .Values.ranker.mode | eq "external" }}
{{- range $part := list "ranker" "items" "collector" "captioner" }}
{{- $runs := include "sightline.tls.runs" (dict "root" $ "part" $part) }}
{{- with index $tls.secrets $part }}
{{- if not $tls.enabled }}
- tls.secrets.{{ $part }}: {{ . | quote }} would be ignored, since tls.enabled is false. Set tls.enabled=true, or leave it empty.
{{- else if not $runs }}
- tls.secrets.{{ $part }}: {{ . | quote }} would be ignored, since this release runs no {{ $part }}. Leave it empty.
{{- end }}
{{- else }}
{{- if and $tls.enabled $runs (not $tls.issuer.name) }}
- tls.secrets.{{ $part }}: it is empty, and so is tls.issuer.name, so the {{ $part }} would have no certificate. Name an issuer of cert-manager, or a Secret with tls.crt, tls.key and ca.crt.
{{- end }}
{{- end }}
{{- end }}
{{- if and $tls.issuer.name (not $tls.enabled) }}
- tls.issuer.name: {{ $tls.issuer.name | quote }} would be ignored, since tls.enabled is false. Set tls.enabled=true, or leave it empty.
{{- end }}
{{- range $name := list "predictor_ca_file" "predictor_tls_name" }}
{{- if and $tls.enabled (not $external) (hasKey $.Values.transformer.settings $name) }}
- transformer.settings.{{ $name }}: the chart gives it, since tls.enabled is true. Remove it.
{{- end }}
{{- end }}
{{- if and $tls.enabled .Values.experiments.enabled (include "sightline.items.bundled" .) }}
{{- $url := urlParse .Values.experiments.exposures.url }}
{{- if and (eq $url.scheme "redis") (eq $url.host (urlParse (include "sightline.items.uri" .)).host) }}
- experiments.exposures.url: {{ .Values.experiments.exposures.url | quote }} is not encrypted, and the bundled store speaks TLS alone. Write rediss:// there.
{{- end }}
{{- end }}
{{- end }}
