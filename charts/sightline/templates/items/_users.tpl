{{/*
Who may do what in the bundled store: one user per role, each with the commands and keys that its programs use (serving/items/redis_store.py)
and nothing else. `default`, which anybody is who gives no name, is off. Context of all: root.

  reader      transformers (and probes): rows, and the list of items that wait for a caption
  writer      the Jobs that fill the store
  controller  of experiments: the assignment, where it is in this store
  exposures   whoever takes the exposures out of their stream, where that is in this store
*/}}

{{/* Name to "key" (of its password in the Secret) and "rules" (of Redis' ACL), as YAML. %R~ allows reading a key, %W~ writing, ~ both. */}}
{{- define "sightline.items.users" -}}
{{- $bundled := .Values.items.redis.bundled -}}
{{- $assigns := and .Values.experiments.enabled (eq .Values.experiments.assignments.via "redis") -}}
{{- $stream := include "sightline.items.stream" . -}}
reader:
  key: {{ $bundled.readerKey }}
  rules: >-
    %R~sightline:format %R~sightline:generation %R~sightline:origin %R~sightline:item:* %R~sightline:user:* %W~sightline:wanted
    {{ if $assigns }}%R~sightline:assignments{{ end }} {{ if $stream }}%W~{{ $stream }}{{ end }}
    +ping +info +get +mget +zadd +zremrangebyrank +multi +exec +discard {{ if $stream }}+xadd +select{{ end }}
writer:
  key: {{ $bundled.passwordKey }}
  rules: >-
    ~sightline:format ~sightline:generation ~sightline:origin ~sightline:ids ~sightline:wanted ~sightline:item:* ~sightline:user:*
    +ping +info +get +mget +set +mset +incr +del +zadd +zrem +zremrangebyrank +zrange +zrangebylex +zcard +scan +multi +exec +discard +bgrewriteaof
{{- if $assigns }}
controller:
  key: {{ $bundled.controllerKey }}
  rules: ~sightline:assignments +ping +get +set +watch +unwatch +multi +exec +discard
{{- end }}
{{- if $stream }}
exposures:
  key: {{ $bundled.exposuresKey }}
  rules: >-
    ~{{ $stream }} +ping +select +xread +xreadgroup +xrange +xrevrange +xlen +xack +xclaim +xautoclaim +xpending +xdel +xtrim
    +xgroup|create +xinfo|stream
{{- end }}
{{- end -}}

{{/* Name of the exposures' stream when it is in the bundled store; nothing otherwise. */}}
{{- define "sightline.items.stream" -}}
{{- if and (include "sightline.items.bundled" .) .Values.experiments.enabled }}
{{- $url := urlParse .Values.experiments.exposures.url }}
{{- $store := urlParse (include "sightline.items.uri" .) }}
{{- if and (eq $url.scheme $store.scheme) (eq $url.host $store.host) }}
{{- regexFind "(^|&)stream=[^&]*" $url.query | trimPrefix "&" | trimPrefix "stream=" }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where the password of a user of the store is: "name" of the Secret and "key", as YAML. Takes root and "user". */}}
{{- define "sightline.items.password" -}}
{{- $external := .root.Values.items.redis.external -}}
{{- if include "sightline.items.bundled" .root -}}
name: {{ include "sightline.items.secretName" .root }}
key: {{ (get (include "sightline.items.users" .root | fromYaml) .user).key }}
{{- else -}}
name: {{ (eq .user "writer" | ternary $external.writerSecret "") | default $external.existingSecret | quote }}
key: {{ $external.passwordKey }}
{{- end -}}
{{- end -}}

{{/* Environment by which a process becomes a user of the store: YAML list, or empty. Takes root, "user" and "prefix" of the variables. */}}
{{- define "sightline.items.envAs" -}}
{{- $external := .root.Values.items.redis.external -}}
{{- $password := include "sightline.items.password" . | fromYaml -}}
{{- if $password.name }}
- name: {{ .prefix }}_PASSWORD
  valueFrom:
    secretKeyRef: {{ toJson $password }}
{{- if include "sightline.items.bundled" .root }}
- name: {{ .prefix }}_USERNAME
  value: {{ .user }}
{{- else if $external.usernameKey }}
- name: {{ .prefix }}_USERNAME
  valueFrom:
    secretKeyRef: {{ dict "name" $password.name "key" $external.usernameKey | toJson }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Says which passwords a living Secret lacks: its pods would not start. Only an installation can look; a rendering alone finds nothing. Context: root. */}}
{{- define "sightline.items.missingKeys" -}}
{{- with .Values.items.redis.bundled.existingSecret }}
{{- $secret := . }}
{{- with lookup "v1" "Secret" $.Release.Namespace . }}
{{- $living := .data | default dict }}
{{- range $user, $each := include "sightline.items.users" $ | fromYaml }}
{{- if not (get $living $each.key) }}
- items.redis.bundled.existingSecret: the Secret {{ $secret | quote }} has no key {{ $each.key | quote }}, the password of the store's user {{ $user }}. Give it one: kubectl -n {{ $.Release.Namespace }} patch secret {{ $secret }} -p '{"stringData":{"{{ $each.key }}":"'$(openssl rand -hex 24)'"}}'
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
