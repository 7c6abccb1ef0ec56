{{- define "sightline.checks.items" -}}
{{- $bundled := .Values.items.redis.bundled }}
{{- $external := .Values.items.redis.external }}
{{- if and $bundled.enabled $external.url }}
- items.redis: bundled.enabled is true and external.url is {{ $external.url | quote }}; only one store can be used. Set items.redis.bundled.enabled=false to use the external one.
{{- else if $bundled.enabled }}
{{- range $key := list "existingSecret" "writerSecret" "usernameKey" "caSecret" }}
{{- with index $external $key }}
- items.redis.external.{{ $key }}: {{ . | quote }} would be ignored, since the bundled store is used. Set items.redis.bundled.enabled=false and external.url, or leave it empty.
{{- end }}
{{- end }}
{{- if not (regexMatch "^[0-9]+(kb|mb|gb)?$" $bundled.maxMemory) }}
- items.redis.bundled.maxMemory: {{ $bundled.maxMemory | quote }} is no size that Redis knows. Write bytes, or a number with kb, mb or gb: 192mb.
{{- end }}
{{- include "sightline.checks.itemsUsers" . }}
{{- else if not $external.url }}
- items.redis: there is no item store. Set items.redis.external.url (redis://host:6379/0), or items.redis.bundled.enabled=true for a trial.
{{- else }}
{{- include "sightline.checks.externalItems" $external }}
{{- end }}
{{- end }}

{{/* Takes items.redis.external. */}}
{{- define "sightline.checks.externalItems" -}}
{{- if not (regexMatch "^rediss?://[^/@]+(/[0-9]+)?$" .url) }}
- items.redis.external.url: expected redis://host:port/number or rediss://host:port/number, without user and password{{ if not (contains "@" .url) }}; it is {{ .url | quote }}{{ end }}. Put those into a Secret and name it in items.redis.external.existingSecret.
{{- end }}
{{- if and .caSecret (not (hasPrefix "rediss://" .url)) }}
- items.redis.external.caSecret: {{ .caSecret | quote }} would be ignored, since items.redis.external.url is not encrypted. Write rediss:// there.
{{- end }}
{{- if and .usernameKey (not .existingSecret) }}
- items.redis.external.usernameKey: there is no Secret that it could be a key of. Set items.redis.external.existingSecret.
{{- end }}
{{- end }}

{{/* The bundled store's users. Context: root. */}}
{{- define "sightline.checks.itemsUsers" -}}
{{- $keys := list }}
{{- range include "sightline.items.users" . | fromYaml }}{{ $keys = append $keys .key }}{{ end }}
{{- if ne (len $keys) (len (uniq $keys)) }}
- items.redis.bundled: two users of the store would have the same password, since their keys in the Secret are {{ join ", " $keys }}. Give each a key of its own.
{{- end }}
{{- include "sightline.items.missingKeys" . }}
{{- $stream := include "sightline.items.stream" . }}
{{- if and $stream (or (not (regexMatch "^[A-Za-z0-9._:-]+$" $stream)) (hasPrefix "sightline:" $stream)) }}
- experiments.exposures.url: the stream {{ $stream | quote }} cannot be a key of the bundled store. Write letters, digits, ".", "_", ":" and "-", and begin with something else than "sightline:", where its rows are.
{{- end }}
{{- end }}
