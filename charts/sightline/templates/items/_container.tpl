{{/*
The container of the bundled store, without its name. Works with Debian's redis-server and with Valkey's image, which keeps
the names redis-server and redis-cli. The password reaches Redis as the sha256 of a user's password in a file in memory: it is
in no argument list and in no file in clear, and needs no quoting. Context: root.
*/}}
{{- define "sightline.items.container" -}}
{{- $items := dict "root" . "component" "items" "pod" .Values.items.pod -}}
image: {{ include "sightline.image" (dict "root" . "name" "items") }}
imagePullPolicy: {{ include "sightline.pullPolicy" . }}
command: [sh, -ec]
args:
  - |
    umask 077
    digest=$(printf %s "$REDISCLI_AUTH" | sha256sum | cut -d ' ' -f 1)
    echo "user default on #$digest ~* &* +@all" > /run/items/users.conf
    unset REDISCLI_AUTH
    exec redis-server /etc/items/redis.conf
env:
  - name: REDISCLI_AUTH
    valueFrom:
      secretKeyRef:
        name: {{ include "sightline.items.secretName" . }}
        key: {{ include "sightline.items.passwordKey" . }}
  {{- with include "sightline.pod.env" $items }}
  {{- . | nindent 2 }}
  {{- end }}
{{- with include "sightline.pod.envFrom" $items }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
ports:
  - name: redis
    containerPort: 6379
{{- $ping := "[ \"$(redis-cli -h 127.0.0.1 ping)\" = PONG ]" }}
startupProbe:
  exec: {command: [sh, -c, {{ $ping | quote }}]}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
readinessProbe:
  exec: {command: [sh, -c, {{ $ping | quote }}]}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  exec: {command: [sh, -c, {{ "redis-cli -h 127.0.0.1 ping >/dev/null" | quote }}]}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
resources:
  {{- toYaml .Values.items.redis.bundled.resources | nindent 2 }}
securityContext:
  {{- include "sightline.containerSecurityContext" . | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/items, readOnly: true}
  - {name: run, mountPath: /run/items}
  - {name: data, mountPath: /data}
  {{- with include "sightline.pod.volumeMounts" $items }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}
