{{/*
How every role reaches the item store. Context of all: root.
*/}}

{{- define "sightline.items.bundled" -}}
{{- if .Values.items.redis.bundled.enabled }}true{{ end -}}
{{- end -}}

{{/* The store's URI, never with a password in it. */}}
{{- define "sightline.items.uri" -}}
{{- if include "sightline.items.bundled" . -}}
{{ ternary "rediss" "redis" (eq (include "sightline.tls.shows" (dict "root" . "part" "items")) "true") }}://{{ include "sightline.componentName" (dict "root" . "component" "items") }}:6379/0
{{- else -}}
{{ .Values.items.redis.external.url }}
{{- end -}}
{{- end -}}

{{/* Name of the Secret with the store's passwords; empty when the external store has none. */}}
{{- define "sightline.items.secretName" -}}
{{- if include "sightline.items.bundled" . -}}
{{- .Values.items.redis.bundled.existingSecret | default (include "sightline.componentName" (dict "root" . "component" "items")) -}}
{{- else -}}
{{- .Values.items.redis.external.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* Environment of a process that reads the store, and of one that writes to it: YAML list, or empty. */}}
{{- define "sightline.items.env" -}}
{{- include "sightline.items.envAs" (dict "root" . "user" "reader" "prefix" "SIGHTLINE_STORE") }}
{{- include "sightline.items.authority" . }}
{{- include "sightline.items.userKey" . }}
{{- end -}}

{{- define "sightline.items.writerEnv" -}}
{{- include "sightline.items.envAs" (dict "root" . "user" "writer" "prefix" "SIGHTLINE_STORE") }}
{{- include "sightline.items.authority" . }}
{{- include "sightline.items.userKey" . }}
{{- end -}}

{{- define "sightline.items.authority" -}}
{{- if include "sightline.tls.shows" (dict "root" . "part" "items") }}
- name: SIGHTLINE_STORE_CA_FILE
  value: /etc/sightline/ca/items.crt
{{- else if and (not (include "sightline.items.bundled" .)) .Values.items.redis.external.caSecret }}
- name: SIGHTLINE_STORE_CA_FILE
  value: /etc/sightline/store-ca/ca.crt
{{- end }}
{{- end -}}

{{/* The key under which users' ids are stored (serving/items/user_keys.py): the same for who writes and who reads. */}}
{{- define "sightline.items.userKey" -}}
{{- with .Values.items.userKeySecret }}
- name: SIGHTLINE_STORE_USER_KEY
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: key}
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

{{/* Redis' own settings. The users come from a file that the container writes at start (_container.tpl). */}}
{{- define "sightline.items.conf" -}}
{{- $bundled := .Values.items.redis.bundled -}}
bind * -::*
{{- if include "sightline.tls.shows" (dict "root" . "part" "items") }}
port 0
tls-port 6379
tls-cert-file /etc/sightline/tls/tls.crt
tls-key-file /etc/sightline/tls/tls.key
tls-protocols "TLSv1.2 TLSv1.3"
# Clients show no certificate: they have passwords.
tls-auth-clients no
{{- else }}
port 6379
{{- end }}
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
