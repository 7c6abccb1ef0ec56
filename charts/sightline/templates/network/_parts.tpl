{{/* Parts of the table in _flows.tpl: list entries, or nothing. Context: root, unless said otherwise. */}}

{{- define "sightline.network.clients" -}}
- {roles: [test], ports: [8080, 8081]}
- {peers: clients, ports: [8080, 8081]}
- {peers: monitoring, ports: [8080]}
{{- end -}}

{{/* Whether a pod fetches the ranking model over the network. */}}
{{- define "sightline.network.fetches" -}}
{{- $uri := .Values.model.uri -}}
{{- if and (eq .Values.model.source "store") (contains "://" $uri) (not (hasPrefix "pvc://" $uri)) -}}true{{- end -}}
{{- end -}}

{{/*
Takes root, "when" (nothing is allowed unless it is true) and "place": items, captioner, ranker, exposures or rayState, whose addresses
networkPolicy.external.places may name and whose "port" stands in a value; without one it is object storage and the like, at the
ports of networkPolicy.external.
*/}}
{{- define "sightline.network.external" -}}
{{- $external := .root.Values.networkPolicy.external -}}
{{- $place := .place | default "" -}}
{{- $to := get $external.places $place | default $external.to -}}
{{- if and .when $to }}
- {peers: {{ ternary (printf "external.%s" $place) "external" (not (empty $place)) }}, ports: {{ ternary (list (.port | int)) $external.ports (not (empty $place)) | toJson }}}
{{- end }}
{{- end -}}

{{/* Port of a URL. */}}
{{- define "sightline.network.port" -}}
{{- $url := urlParse . -}}
{{- $known := dict "http" "80" "https" "443" "redis" "6379" "rediss" "6379" -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (get $known $url.scheme) | default "443" -}}
{{- end -}}

{{- define "sightline.network.itemsOut" -}}
{{- if include "sightline.items.bundled" . }}
- {roles: [items], ports: [6379]}
{{- else }}
{{- include "sightline.network.external" (dict "root" . "when" true "place" "items" "port" (include "sightline.network.port" .Values.items.redis.external.url)) }}
{{- end }}
{{- end -}}

{{/* What uses a captioner that runs elsewhere. */}}
{{- define "sightline.network.captionerUse" -}}
{{- if eq .Values.captioner.mode "external" }}
{{- include "sightline.network.external" (dict "root" . "when" true "place" "captioner" "port" (include "sightline.network.port" .Values.captioner.externalUrl)) }}
{{- end }}
{{- end -}}

{{/* Weights of every preset but `tiny`, and pictures by URL, come from outside; so does a Redis that keeps Ray's state. */}}
{{- define "sightline.network.captionerOut" -}}
{{- $settings := .Values.captioner.settings -}}
{{- include "sightline.network.external" (dict "root" . "when" (or (ne $settings.preset "tiny") ($settings.allow_urls | default false))) }}
{{- $redis := .Values.captioner.rayService.faultTolerance -}}
{{- include "sightline.network.external" (dict "root" . "when" (and (eq .Values.captioner.mode "rayservice") $redis.enabled) "place" "rayState" "port" (include "sightline.network.port" (printf "redis://%s" $redis.redisAddress))) }}
{{- end -}}

{{/* One side of a flow as a NetworkPolicy rule. Takes root, "flow" and "side" (from or to). */}}
{{- define "sightline.network.rule" -}}
{{- $peers := dict "clients" (.root.Values.networkPolicy.clients | default (list (dict "podSelector" dict))) -}}
{{- $peers = merge $peers (dict "external" .root.Values.networkPolicy.external.to "kubeApi" .root.Values.networkPolicy.kubeApi.to) -}}
{{- $peers = merge $peers (dict "prometheus" .root.Values.networkPolicy.prometheus.to) -}}
{{- range $place, $to := .root.Values.networkPolicy.external.places -}}
{{- $_ := set $peers (printf "external.%s" $place) ($to | default $.root.Values.networkPolicy.external.to) -}}
{{- end -}}
- {{ .side }}:
  {{- range .flow.roles }}
    - podSelector:
        matchLabels:
          {{- include "sightline.selectorLabels" (dict "root" $.root "component" .) | nindent 10 }}
  {{- end }}
  {{- with .flow.peers }}
    {{- (hasKey $peers . | ternary (get $peers .) (index $.root.Values.networkPolicy .)) | toYaml | nindent 4 }}
  {{- end }}
  {{- with .flow.ports }}
  ports:
    {{- range . }}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
  {{- end }}
{{- end -}}
