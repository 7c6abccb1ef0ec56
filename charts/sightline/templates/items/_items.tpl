{{/*
How every role reaches the item store. Context of all: root.
*/}}

{{- define "sightline.items.bundled" -}}
{{- $redis := .Values.items.redis -}}
{{- if and $redis.bundled.enabled $redis.external.url -}}
  {{- fail (printf "items.redis: both bundled.enabled is true and external.url is %q. Only one store can be used: set items.redis.bundled.enabled=false to use the external one." $redis.external.url) -}}
{{- end -}}
{{- if not (or $redis.bundled.enabled $redis.external.url) -}}
  {{- fail "items.redis: there is no item store. Set items.redis.external.url (redis://host:6379/0), or items.redis.bundled.enabled=true for a trial." -}}
{{- end -}}
{{- if $redis.bundled.enabled }}true{{ end -}}
{{- end -}}

{{/* The store's URI, never with a password in it. */}}
{{- define "sightline.items.uri" -}}
{{- if include "sightline.items.bundled" . -}}
redis://{{ include "sightline.componentName" (dict "root" . "component" "items") }}:6379/0
{{- else -}}
{{- $external := .Values.items.redis.external -}}
{{- if not (regexMatch "^rediss?://[^/@]+(/[0-9]+)?$" $external.url) -}}
  {{- fail (printf "items.redis.external.url is %q: expected redis://host:port/number or rediss://host:port/number, without user and password. Put those into a Secret and name it in items.redis.external.existingSecret." $external.url) -}}
{{- end -}}
{{- if and $external.caSecret (not (hasPrefix "rediss://" $external.url)) -}}
  {{- fail (printf "items.redis.external.caSecret is set, but items.redis.external.url is %q, which is not encrypted: write rediss://." $external.url) -}}
{{- end -}}
{{- $external.url -}}
{{- end -}}
{{- end -}}

{{/* Name of the Secret with the store's password; empty when the external store has none. */}}
{{- define "sightline.items.secretName" -}}
{{- if include "sightline.items.bundled" . -}}
{{- .Values.items.redis.bundled.existingSecret | default (include "sightline.componentName" (dict "root" . "component" "items")) -}}
{{- else -}}
{{- .Values.items.redis.external.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "sightline.items.passwordKey" -}}
{{- ternary .Values.items.redis.bundled.passwordKey .Values.items.redis.external.passwordKey (eq (include "sightline.items.bundled" .) "true") -}}
{{- end -}}

{{/* Environment of a process that opens the store: YAML list, or empty. */}}
{{- define "sightline.items.env" -}}
{{- $external := .Values.items.redis.external -}}
{{- $bundled := include "sightline.items.bundled" . -}}
{{- with include "sightline.items.secretName" . }}
- name: SIGHTLINE_STORE_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ include "sightline.items.passwordKey" $ }}
{{- if and (not $bundled) $external.usernameKey }}
- name: SIGHTLINE_STORE_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $external.usernameKey }}
{{- end }}
{{- end }}
{{- if and (not $bundled) $external.caSecret }}
- name: SIGHTLINE_STORE_CA_FILE
  value: /etc/sightline/store-ca/ca.crt
{{- end }}
{{- end -}}

{{- define "sightline.items.volumes" -}}
{{- $external := .Values.items.redis.external -}}
{{- if and (not (include "sightline.items.bundled" .)) $external.caSecret }}
- name: store-ca
  secret:
    secretName: {{ $external.caSecret }}
    items:
      - {key: {{ $external.caKey }}, path: ca.crt}
{{- end }}
{{- end -}}

{{- define "sightline.items.volumeMounts" -}}
{{- if and (not (include "sightline.items.bundled" .)) .Values.items.redis.external.caSecret }}
- name: store-ca
  mountPath: /etc/sightline/store-ca
  readOnly: true
{{- end }}
{{- end -}}

{{/* Redis' own settings. The user and its password come from a file that the container writes at start (statefulset.yaml). */}}
{{- define "sightline.items.conf" -}}
{{- $bundled := .Values.items.redis.bundled -}}
bind * -::*
port 6379
dir /data
daemonize no
# Every write is appended, and on disk within a second; no snapshots beside it.
appendonly yes
appendfsync everysec
save ""
# Rows are data, not a cache: when full, writing fails loudly and nothing is dropped silently.
maxmemory {{ $bundled.maxMemory }}
maxmemory-policy noeviction
tcp-keepalive 60
include /run/items/users.conf
{{- end -}}
