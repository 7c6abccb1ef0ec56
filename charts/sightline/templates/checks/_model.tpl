{{- define "sightline.checks.model" -}}
{{- $model := .Values.model }}
{{- if eq $model.source "demo" }}
{{- if $model.uri }}
- model.uri: {{ $model.uri | quote }} would be ignored, since model.source is demo. Set model.source=store to serve it.
{{- end }}
{{- if $model.credentialsSecret }}
- model.credentialsSecret: {{ $model.credentialsSecret | quote }} would be ignored, since model.source is demo. Set model.source=store, or leave it empty.
{{- end }}
{{- else if not $model.uri }}
- model.uri: it is empty, and model.source is store. Give an entry of the model store: s3://bucket/models/ranker/7 or pvc://claim/models/ranker/7.
{{- else if hasPrefix "oci://" $model.uri }}
- model.uri: {{ $model.uri | quote }} is a container image, which only KServe can open, and the transformer needs the bundle too. Give the entry by s3:// or pvc:// here, and the image in ranker.inferenceService.storageUri with storage=kserve.
{{- else if hasPrefix "pvc://" $model.uri }}
{{- if not (regexMatch "^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[^/].*$" $model.uri) }}
- model.uri: {{ $model.uri | quote }} does not name a PersistentVolumeClaim and a path in it. Write pvc://claim/models/ranker/7.
{{- end }}
{{- else if not (regexMatch "^[a-z][a-z0-9+]*://[^/]+/.+$" $model.uri) }}
- model.uri: {{ $model.uri | quote }} is no URI with a scheme, a bucket or host, and a path. Write s3://bucket/models/ranker/7 or pvc://claim/models/ranker/7.
{{- end }}
{{- end }}
