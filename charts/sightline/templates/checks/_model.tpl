{{- define "sightline.checks.model" -}}
{{- $model := .Values.model }}
{{- include "sightline.checks.trust" . }}
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

{{- define "sightline.checks.trust" -}}
{{- $model := .Values.model }}
{{- $trust := $model.trust }}
{{- $demands := ternary "required" "requireDigest" $trust.required }}
{{- if and $trust.required (not $trust.publicKeys) }}
- model.trust.required: it demands signatures, and model.trust.publicKeys is empty. Give the text of the *.pub.pem that `sightline models keygen` wrote.
{{- end }}
{{- range $trust.publicKeys }}
{{- if not (contains "-----BEGIN PUBLIC KEY-----" .) }}
- model.trust.publicKeys: {{ ternary "one is a private key: take it out of the values, and never use it again" (printf "%s is not a public key" (quote (trunc 40 .))) (contains "PRIVATE KEY" .) }}. Give the text of the *.pub.pem that `sightline models keygen` wrote.
{{- end }}
{{- end }}
{{- if or $trust.required $trust.requireDigest }}
{{- if eq $model.source "demo" }}
- model.trust.{{ $demands }}: the demo's bundle is neither signed nor pinned, and model.source is demo. Serve one of a model store (model.source=store), or demand nothing.
{{- else if include "sightline.ranker.kserveStorage" . }}
- model.trust.{{ $demands }}: with ranker.inferenceService.storage=kserve KServe's own storage initializer brings the model, and checks neither signatures nor digests. Set storage=init (experiments then need ranker.mode=deployment), or demand nothing.
{{- end }}
{{- end }}
{{- if contains "@sha256:" $model.uri }}
{{- if not (regexMatch "@sha256:[0-9a-f]{64}$" $model.uri) }}
- model.uri: {{ $model.uri | quote }} has no digest behind @sha256:. Write 64 hexadecimal digits (0-9, a-f), as `sightline models verify` says them.
{{- end }}
{{- else if and $trust.requireDigest (eq $model.source "store") }}
- model.uri: {{ $model.uri | quote }} has no digest, and model.trust.requireDigest is set. Write it behind, …/7@sha256:…, as `sightline models verify` says it.
{{- end }}
{{- end }}
