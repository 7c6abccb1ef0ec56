{{/* A value as text on a command line: numbers without exponent, lists separated by commas. */}}
{{- define "sightline.text" -}}
{{- if kindIs "string" . }}{{ . }}
{{- else if kindIs "slice" . }}{{ join "," . }}
{{- else }}{{ toJson . }}
{{- end }}
{{- end }}

{{/* Minutes as a probe's failureThreshold at one try every 5 seconds. */}}
{{- define "sightline.startTries" -}}
{{- mul (int .) 12 }}
{{- end }}
