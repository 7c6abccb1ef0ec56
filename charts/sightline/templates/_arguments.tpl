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

{{/* Seconds after which a rollout counts as stuck: longer than a start may take, so that `helm --wait` does not give up before. Takes minutes. */}}
{{- define "sightline.progressSeconds" -}}
{{- add (mul (int .) 60) 300 }}
{{- end }}
