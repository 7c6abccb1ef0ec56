{{/*
How every role reaches the item store. Context of all: root.
*/}}

{{- define "sightline.items.bundled" -}}
{{- if .Values.items.redis.bundled.enabled }}true{{ end -}}
{{- end -}}

{{/* The store's URI, never with a password in it. */}}
{{- define "sightline.items.uri" -}}
{{- if include "sightline.items.bundled" . -}}
redis://{{ include "sightline.componentName" (dict "root" . "component" "items") }}:6379/0
{{- else -}}
{{ .Values.items.redis.external.url }}
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
