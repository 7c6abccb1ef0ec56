{{/*
The container of the bundled store, without its name. Works with Debian's redis-server and with Valkey's image, which keeps
the names redis-server and redis-cli. Passwords reach Redis as sha256 in a file in memory: they are in no argument list and in
no file in clear, and need no quoting. Probes are the user `reader`. Context: root.
*/}}
{{- define "sightline.items.container" -}}
{{- $items := dict "root" . "component" "items" "pod" .Values.items.pod -}}
{{- $users := include "sightline.items.users" . | fromYaml -}}
{{- $variables := dict -}}
{{- range $user, $_ := $users -}}
{{- $_ := set $variables $user (eq $user "reader" | ternary "REDISCLI_AUTH" (printf "%s_PASSWORD" (upper $user))) -}}
{{- end -}}
image: {{ include "sightline.image" (dict "root" . "name" "items") }}
imagePullPolicy: {{ include "sightline.pullPolicy" . }}
command: [sh, -ec]
args:
  - |
    umask 077
    user() { # name, password, rules
      [ -n "$2" ] || { echo "the password of the user $1 is empty" >&2; exit 1; }
      echo "user $1 on #$(printf %s "$2" | sha256sum | cut -d ' ' -f 1) resetchannels -@all $3"
    }
    {
      echo "user default off resetkeys resetchannels -@all"
      {{- range $user, $each := $users }}
      user {{ $user }} "${{ get $variables $user }}" {{ regexReplaceAll "\\s+" $each.rules " " | trim | squote }}
      {{- end }}
    } > /run/items/users.conf
    unset {{ values $variables | sortAlpha | join " " }}
    exec redis-server /etc/items/redis.conf
env:
  {{- $passwords := list }}
  {{- range $user, $variable := $variables }}
  {{- $key := include "sightline.items.password" (dict "root" $ "user" $user) | fromYaml }}
  {{- $passwords = append $passwords (dict "name" $variable "valueFrom" (dict "secretKeyRef" $key)) }}
  {{- end }}
  {{- include "sightline.pod.env" (merge (dict "own" (toYaml $passwords)) $items) | nindent 2 }}
{{- with include "sightline.pod.envFrom" $items }}
envFrom:
  {{- . | nindent 2 }}
{{- end }}
ports:
  - name: redis
    containerPort: 6379
{{- $tls := ternary "--tls --cacert /etc/sightline/tls/ca.crt " "" (eq (include "sightline.tls.shows" (dict "root" . "part" "items")) "true") }}
{{- $cli := printf "redis-cli -h 127.0.0.1 %s--user reader ping" $tls }}
{{- $ping := printf "[ \"$(%s)\" = PONG ]" $cli }}
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
  exec: {command: [sh, -c, {{ printf "%s >/dev/null" $cli | quote }}]}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
resources:
  {{- toYaml .Values.items.redis.bundled.resources | nindent 2 }}
securityContext:
  {{- include "sightline.containerSecurityContext" $items | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/items, readOnly: true}
  - {name: run, mountPath: /run/items}
  - {name: data, mountPath: /data}
  {{- with include "sightline.tls.mount" (dict "root" . "part" "items") }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- with include "sightline.pod.volumeMounts" $items }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}
