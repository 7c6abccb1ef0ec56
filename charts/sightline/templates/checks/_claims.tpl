{{/*
Kubernetes never changes the claims of a StatefulSet, and says only "Forbidden: updates to statefulset spec". Seen where helm can look at
the living one: not by tools that only render.
*/}}
{{- define "sightline.checks.claims" -}}
{{- if include "sightline.items.bundled" . }}
{{- include "sightline.checks.claim" (dict "root" . "component" "items" "path" "items.redis.bundled.persistence" "wanted" .Values.items.redis.bundled.persistence) }}
{{- end }}
{{- if include "sightline.experiments.runs" (dict "root" . "part" "collector") }}
{{- include "sightline.checks.claim" (dict "root" . "component" "collector" "path" "experiments.collector.persistence" "wanted" .Values.experiments.collector.persistence) }}
{{- end }}
{{- end }}

{{- define "sightline.checks.claim" -}}
{{- $name := include "sightline.componentName" . }}
{{- $namespace := .root.Release.Namespace }}
{{- $living := lookup "apps/v1" "StatefulSet" $namespace $name }}
{{- if $living }}
{{- $has := dict "size" "" "storageClass" "" }}
{{- range ($living.spec.volumeClaimTemplates | default list) }}
{{- $has = dict "size" (toString .spec.resources.requests.storage) "storageClass" (.spec.storageClassName | default "") }}
{{- end }}
{{- $wanted := ternary (pick .wanted "size" "storageClass") (dict "size" "" "storageClass" "") .wanted.enabled }}
{{- $command := printf "kubectl --namespace %s delete statefulset %s --cascade=orphan" $namespace $name }}
{{- if and $has.size (not $wanted.size) }}
- {{ .path }}.enabled: {{ $name }} keeps its data on a claim of {{ $has.size }}, and Kubernetes never changes a StatefulSet's claims. Remove the StatefulSet alone and upgrade again ({{ $command }}); the claim stays and is yours to delete.
{{- else if and $wanted.size (not $has.size) }}
- {{ .path }}.enabled: {{ $name }} runs without a claim, and Kubernetes never changes a StatefulSet's claims. Remove the StatefulSet alone and upgrade again ({{ $command }}); its pod is then replaced by one with a claim, which begins empty.
{{- else if and $has.size (ne (include "sightline.bytes" $has.size) (include "sightline.bytes" $wanted.size)) }}
- {{ .path }}.size: {{ $name }} has a claim of {{ $has.size }}, not {{ $wanted.size }}, and Kubernetes never changes a StatefulSet's claims. Enlarge the claim (kubectl --namespace {{ $namespace }} patch persistentvolumeclaim data-{{ $name }}-0 --type merge --patch '{"spec": {"resources": {"requests": {"storage": "{{ $wanted.size }}"}}}}', where the StorageClass allows it). Remove the StatefulSet alone and upgrade again ({{ $command }}).
{{- else if and $wanted.storageClass (ne $has.storageClass $wanted.storageClass) }}
- {{ .path }}.storageClass: {{ $name }} has a claim of the class {{ $has.storageClass | quote }}, and a claim's class never changes. Leave it at {{ $has.storageClass | quote }}, or copy the data to a claim of the other class and remove StatefulSet and claim.
{{- end }}
{{- end }}
{{- end }}

{{/* A quantity in bytes: the API server gives 1024Mi back as 1Gi. */}}
{{- define "sightline.bytes" -}}
{{- $unit := regexFind "[A-Za-z]+$" . }}
{{- $bytes := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 }}
{{- printf "%.0f" (mulf (float64 (trimSuffix $unit .)) (get $bytes $unit | default 1.0)) }}
{{- end }}
