{{/* Arguments of the check: what the modes do not have is not looked at. Context: root. */}}
{{- define "sightline.tests.args" -}}
{{- $tests := .Values.tests -}}
- --transformer-http={{ include "sightline.transformer.httpUrl" . }}
- --transformer-grpc={{ include "sightline.transformer.grpcTarget" . }}
{{- with include "sightline.captioner.url" . }}
- --captioner={{ . }}
- --picture={{ $tests.picture }}
{{- end }}
{{- with include "sightline.ranker.httpUrl" . }}
- --ranker-http={{ . }}
{{- end }}
{{- if eq .Values.model.source "demo" }}
- --bundle={{ include "sightline.model.demo" . }}
{{- end }}
- --model={{ .Values.model.name }}
- {{ printf "--user=%v" $tests.user | quote }}
{{- range $tests.items }}
- {{ printf "--item=%v" . | quote }}
{{- end }}
- --{{ ternary "known" "any" $tests.known }}
- --wait={{ $tests.waitSeconds }}
{{- end -}}
