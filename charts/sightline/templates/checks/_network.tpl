{{- define "sightline.checks.network" -}}
{{- $gateway := .Values.gateway }}
{{- if and $gateway.enabled (not $gateway.parentRefs) }}
- gateway.parentRefs: it is empty, so no Gateway would carry the route. Name one: [{name: public, namespace: gateways}].
{{- end }}
{{- if and $gateway.grpc (not $gateway.enabled) }}
- gateway.grpc: it would be ignored, since gateway.enabled is false. Set gateway.enabled=true.
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
- ingress.hosts: it is empty, so nothing would be served. Name at least one host: [ranking.example.com].
{{- end }}
{{- if and .Values.tests.enabled (or (not .Values.tests.items) (ne (len .Values.tests.items) (len (uniq .Values.tests.items)))) }}
- tests.items: `helm test` ranks them. Give at least one, and each only once.
{{- end }}
{{- end }}
