{{- define "sightline.checks.experiments" -}}
{{- $experiments := .Values.experiments }}
{{- $kserve := .Values.ranker.inferenceService }}
{{- if $kserve.predictorName }}
{{- if ne .Values.ranker.mode "inferenceservice" }}
- ranker.inferenceService.predictorName: {{ $kserve.predictorName | quote }} would be ignored, since ranker.mode is {{ .Values.ranker.mode }}. Set ranker.mode=inferenceservice, or leave it empty.
{{- else if ne $kserve.storage "kserve" }}
- ranker.inferenceService.predictorName: KServe takes a name only for a predictor that it brings the model to, and storage is {{ $kserve.storage }}. Set ranker.inferenceService.storage=kserve, or leave it empty.
{{- end }}
{{- end }}
{{- if $experiments.enabled }}
{{- if eq .Values.ranker.mode "external" }}
- experiments.enabled: ranker.mode is external, so there is nothing here that a candidate could run beside. Choose ranker.mode=deployment or inferenceservice.
{{- else if eq .Values.ranker.mode "inferenceservice" }}
{{- include "sightline.checks.experimentsOnKserve" $kserve }}
{{- end }}
{{- include "sightline.checks.exposures" . }}
{{- with $experiments.collector.token.existingSecret }}
- experiments.collector.token.existingSecret: {{ . | quote }} has one token for every right, and each right has its own now. Leave it empty, and tokens are made; or name a Secret with the keys outcomes, exposures, evidence and forget in experiments.collector.tokens.existingSecret.
{{- end }}
{{- if and $experiments.controller.enabled (not $experiments.controller.serviceAccount.create) (not $experiments.controller.serviceAccount.name) }}
- experiments.controller.serviceAccount: every pod of the namespace that has no account of its own would get the controller's rights, Deployments among them. Set create=true, or give the name of an account.
{{- end }}
{{- $items := .Values.items.redis }}
{{- if and (eq $experiments.assignments.via "redis") (not $items.bundled.enabled) (or $items.external.usernameKey $items.external.caSecret) }}
- experiments.assignments.via: the controller opens Redis with a password alone, and items.redis.external has usernameKey or caSecret. Choose via=api or mounted.
{{- end }}
{{- end }}
{{- end }}

{{/* Takes ranker.inferenceService. */}}
{{- define "sightline.checks.experimentsOnKserve" -}}
{{- if eq .transformer "collocated" }}
- ranker.inferenceService.transformer: it is collocated, and experiments need one that chooses between the pods of stable and candidate. Set it to separate, or experiments.enabled=false.
{{- end }}
{{- if ne .storage "kserve" }}
- ranker.inferenceService.storage: it is {{ .storage }}, and KServe renames a predictor, which a promotion is, only where it brings the model itself. Set it to kserve, with runtime=triton and model.source=store, or experiments.enabled=false.
{{- end }}
{{- end }}

{{/* Where exposures go. Takes the root. */}}
{{- define "sightline.checks.exposures" -}}
{{- $experiments := .Values.experiments }}
{{- $url := $experiments.exposures.url }}
{{- if and (not $url) (not $experiments.collector.enabled) }}
- experiments.exposures.url: it is empty, and experiments.collector.enabled is false, so exposures have no place. Give a Redis stream, a folder or a collector elsewhere, or set experiments.collector.enabled=true.
{{- else if contains "@" $url }}
- experiments.exposures.url: it has user and password, and addresses are logged. Leave them out: Redis' password is the item store's, a collector's token is in experiments.collector.tokens.existingSecret, or none.
{{- else if and $url (not (regexMatch "^(file:///[^?]+|rediss?://[^/]+(/[0-9]+)?[?](.*&)?stream=.+|https?://[^/]+/.+)" $url)) }}
- experiments.exposures.url: {{ $url | quote }} is no place for exposures. Write redis://host:6379/0?stream=exposures, file:///exposures, or http://collector:8090/v1/exposures.
{{- else if hasPrefix "file:///" $url }}
{{- $folder := regexReplaceAll "[?].*$" (trimPrefix "file://" $url) "" }}
{{- $found := dict }}
{{- range (include "sightline.pod.values" (dict "root" . "pod" .Values.transformer.pod) | fromYaml).volumeMounts }}
{{- if or (eq $folder .mountPath) (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $folder) }}
{{- $_ := set $found "mount" .mountPath }}
{{- end }}
{{- end }}
{{- if not $found }}
- experiments.exposures.url: {{ $folder | quote }} is on no volume, and a pod's own file system is read-only. Give a volume by transformer.pod.volumes and transformer.pod.volumeMounts, or choose another place.
{{- end }}
{{- end }}
{{- end }}
