{{/* What every Job of `jobs` takes from the values. Takes (dict "root" $ "kind" "train"). */}}
{{- define "sightline.jobs.common" -}}
{{- $jobs := .root.Values.jobs -}}
queueName: {{ $jobs.queueName | quote }}
suspend: {{ $jobs.suspend }}
backoffLimit: {{ $jobs.backoffLimit }}
ttlSecondsAfterFinished: {{ $jobs.ttlSecondsAfterFinished }}
graceSeconds: {{ $jobs.graceSeconds }}
workSize: {{ $jobs.work.sizeLimit }}
credentialsSecret: {{ $jobs.store.credentialsSecret | quote }}
accountName: jobs
{{- end -}}

{{/* Arguments that train and lift share: YAML list. Takes (dict "root" $ "kind" "train"). */}}
{{- define "sightline.jobs.inputs" -}}
- --recipe={{ include "sightline.jobs.recipe" .root }}
- --data={{ .root.Values.jobs.data }}
- --captions={{ .root.Values.jobs.captions }}
- --tokenizer={{ .root.Values.jobs.tokenizer }}
- --work={{ include "sightline.jobs.work" . }}
{{- end -}}
