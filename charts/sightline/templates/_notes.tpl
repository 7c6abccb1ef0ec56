{{/* What an installation lacks, one line each, for NOTES.txt. Context: root. */}}
{{- define "sightline.notes.warnings" -}}
{{- $bundled := include "sightline.items.bundled" . }}
{{- $external := .Values.items.redis.external }}
{{- $policy := .Values.networkPolicy }}
{{- if eq .Values.captioner.mode "off" }}
- There is no captioner: items keep the captions they have, new items are ranked without (captioner.mode).
{{- end }}
{{- if eq .Values.model.source "demo" }}
- The model is the demo's, trained on invented people and drawn pictures. Train and serve your own: jobs.train, then model.source=store.
{{- end }}
{{- if and .Values.bootstrap.enabled (ne .Values.captioner.mode "off") (or (ne .Values.model.source "demo") (not $bundled)) }}
- The bootstrap Job writes demo items into your item store: set bootstrap.enabled=false.
{{- end }}
{{- if eq .Values.captioner.mode "deployment" }}
- captioner.mode=deployment is one Ray per pod. For production use rayservice, with KubeRay.
{{- end }}
{{- $ray := .Values.captioner.rayService }}
{{- if and (eq .Values.captioner.mode "rayservice") (eq 1 (add $ray.cpuWorkers.minReplicas $ray.gpuWorkers.minReplicas | int)) }}
- One captioner worker: while it is replaced, up to a minute, captions fail and are asked for again. Set captioner.rayService.cpuWorkers.minReplicas=2 (or gpuWorkers).
{{- end }}
{{- if and (has .Values.captioner.mode (list "deployment" "rayservice")) (ne .Values.captioner.settings.preset "tiny") (not .Values.captioner.settings.weights) }}
- The captioner's weights are taken as they come. `sightline models pin-weights SOURCE` tells what to write as captioner.settings.weights and .revision.
{{- end }}
{{- if eq .Values.ranker.mode "deployment" }}
- ranker.mode=deployment runs Triton on CPUs. For GPUs use inferenceservice, with KServe.
{{- end }}
{{- if and (ne .Values.ranker.mode "external") (le (int (include "sightline.leastPods" (dict "fixed" .Values.ranker.replicas "autoscaling" .Values.ranker.autoscaling))) 1) (not .Values.ranker.autoscaling.enabled) }}
- One ranker pod: rankings stop while its node is away. Set ranker.replicas=2 and transformer.replicas=2, or switch autoscaling on.
{{- end }}
{{- if and $bundled (not .Values.items.redis.bundled.persistence.enabled) }}
- The item store lives as long as its pod (items.redis.bundled.persistence). A lost store degrades rankings until a backfill.
{{- end }}
{{- if and $bundled (ne .Values.model.source "demo") }}
- The bundled item store is a single pod. For production use items.redis.external.
{{- end }}
{{- if and (not $bundled) (not $external.existingSecret) }}
- The external item store is used without a password: set items.redis.external.existingSecret.
{{- end }}
{{- if and (not $bundled) (hasPrefix "redis://" $external.url) }}
- The external item store is used without TLS: rediss:// in items.redis.external.url.
{{- end }}
{{- if not $policy.enabled }}
- There are no NetworkPolicies (networkPolicy.enabled): every pod of the cluster reaches ours.
{{- else if and (not $policy.clients) (or .Values.gateway.enabled .Values.ingress.enabled (ne .Values.transformer.service.type "ClusterIP")) }}
- Only pods of this namespace may ask for rankings; let your gateway in by networkPolicy.clients.
{{- end }}
{{- if not .Values.monitoring.rules.enabled }}
- Nobody is told when rankings fail: monitoring.podMonitors.enabled and monitoring.rules.enabled, with the Prometheus operator.
{{- else if not .Values.monitoring.podMonitors.enabled }}
- Alerts are made and nothing is scraped: SightlineRankingDown will fire until monitoring.podMonitors.enabled, or a scraper of yours.
{{- end }}
{{- if .Values.experiments.enabled }}
{{- include "sightline.notes.experimentWarnings" . }}
{{- end }}
{{- $claim := include "sightline.jobs.claim" . }}
{{- if and $claim (not .Values.jobs.volume.existingClaim) (not .Values.jobs.volume.storageClass) }}
- Jobs keep their work on claim {{ $claim }}, which wants a default StorageClass; without one their pods wait for ever: set jobs.volume.storageClass, or jobs.volume.create=false.
{{- end }}
{{- range $kind := list "train" "lift" }}
{{- if and (index $.Values.jobs $kind).enabled (eq (include "sightline.jobs.work" (dict "root" $ "kind" $kind)) "/work") }}
- Checkpoints of jobs.{{ $kind }} go with its pod, and a replaced pod starts over: set jobs.volume ({{ if and (eq $kind "train") (gt (int $.Values.jobs.train.processes) 1) }}several processes need accessMode ReadWriteMany{{ else }}create, or existingClaim{{ end }}), and leave jobs.work.onVolume as it is.
{{- end }}
{{- end }}
{{- if and .Values.jobs.suspend (or .Values.jobs.train.enabled .Values.jobs.lift.enabled .Values.jobs.publish.enabled .Values.jobs.backfill.enabled) }}
- Jobs are suspended: `helm --wait` waits for them until its timeout.
{{- end }}
{{- end -}}

{{/* What an experiment's spec must name of this release. */}}
{{- define "sightline.notes.experiment" -}}
{{- $ranker := include "sightline.componentName" (dict "root" . "component" "ranker") }}
{{- $transformer := include "sightline.componentName" (dict "root" . "component" "transformer") }}
{{- $kserve := eq .Values.ranker.mode "inferenceservice" }}
       # spec.target: {kind: {{ ternary "InferenceService" "Deployment" $kserve }}, name: {{ $ranker }}{{ if not $kserve }}, transformer: {{ $transformer }}{{ end }}, model: {{ .Values.model.name }}}
{{- if include "sightline.experiments.collects" . }}
       # spec.evidence.collector: {{ include "sightline.experiments.collectorUrl" . }}
       # Outcomes are sent with the key outcomes of the Secret {{ include "sightline.experiments.tokensSecret" . }}, users are deleted with its key forget.
{{- end }}
{{- end }}

{{- define "sightline.notes.experimentWarnings" -}}
{{- $collector := .Values.experiments.collector }}
{{- with ternary (include "sightline.experiments.foreignCrd" .) "" .Values.experiments.crd.create }}
- The definition of experiments is in the cluster already, {{ . }}, and was left as it is. A newer one: kubectl apply --server-side --force-conflicts --filename charts/sightline/files/experiments-crd.yaml
{{- end }}
{{- if include "sightline.experiments.collects" . }}
{{- if not $collector.persistence.enabled }}
- What experiments have seen lives as long as the collector's pod (experiments.collector.persistence).
{{- end }}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.outcomeClients) }}
- Nobody may send outcomes to the collector: name those who do in networkPolicy.outcomeClients.
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.prometheus.to) }}
- The guardrails of experiments reach no Prometheus (networkPolicy.prometheus).
{{- end }}
{{- end }}
