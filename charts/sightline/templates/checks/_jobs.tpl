{{- define "sightline.checks.jobs" -}}
{{- $jobs := .Values.jobs }}
{{- include "sightline.checks.jobVolume" (dict "jobs" $jobs "claim" (include "sightline.jobs.claim" .)) }}
{{- if and $jobs.recipe.inline (ne $jobs.recipe.name "demo") }}
- jobs.recipe: name is {{ $jobs.recipe.name | quote }} and inline is set, which wins. Leave jobs.recipe.name as it is.
{{- end }}
{{- range $kind := list "train" "publish" }}
{{- if and (index $jobs $kind).enabled (not (include "sightline.jobs.store" $)) }}
- jobs.{{ $kind }}.enabled: there is no place for bundles. Set jobs.store.uri (s3://bucket/models), or jobs.volume.existingClaim or jobs.volume.create for a claim.
{{- end }}
{{- end }}
{{- if and $jobs.lift.enabled (eq $jobs.captions "none") }}
- jobs.lift.enabled: jobs.captions is none, so there is no lift to measure. Give the captions' folder or URI.
{{- end }}
{{- if $jobs.backfill.enabled }}
{{- if eq .Values.captioner.mode "off" }}
- jobs.backfill.enabled: captioner.mode is off, so nobody can caption. Set captioner.mode to deployment, rayservice or external.
{{- end }}
{{- if or (hasPrefix "/opt/sightline/" $jobs.captions) (eq $jobs.captions "none") }}
- jobs.captions: backfill cannot write to {{ $jobs.captions | quote }}. Give a URI (s3://bucket/captions), or /volume/captions with jobs.volume.existingClaim or jobs.volume.create.
{{- end }}
{{- end }}
{{- range $kind := list "train" "lift" "backfill" }}
{{- include "sightline.checks.job" (dict "kind" $kind "job" (index $jobs $kind) "image" $.Values.images.trainer "recipe" $jobs.recipe) }}
{{- end }}
{{- end }}

{{/* Takes "jobs" (the values) and "claim", the volume's name or "". */}}
{{- define "sightline.checks.jobVolume" -}}
{{- $claim := .claim }}
{{- with .jobs }}
{{- if and (eq (toString .volume.create) "true") .volume.existingClaim }}
- jobs.volume: create is true and existingClaim is {{ .volume.existingClaim | quote }}. Set one of them.
{{- end }}
{{- if and (eq (toString .work.onVolume) "true") (not $claim) }}
- jobs.work.onVolume: there is no volume. Set jobs.volume.existingClaim or jobs.volume.create.
{{- end }}
{{- range $path, $place := dict "jobs.data" .data "jobs.captions" .captions "jobs.tokenizer" .tokenizer "jobs.recipe.name" .recipe.name "jobs.store.uri" .store.uri "jobs.publish.bundle" .publish.bundle }}
{{- if and (hasPrefix "/volume/" $place) (not $claim) }}
- {{ $path }}: {{ $place | quote }} is on a volume that is not there. Set jobs.volume.existingClaim or jobs.volume.create.
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes "kind", "job" (its values), "image" (the trainer's), "recipe" (jobs.recipe). What a recipe of one's own at a URI says is not known here. */}}
{{- define "sightline.checks.job" -}}
{{- if and .job.schedule (not (regexMatch "^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|([^ ]+ ){4}[^ ]+)$" .job.schedule)) }}
- jobs.{{ .kind }}.schedule: {{ .job.schedule | quote }} is no cron schedule. Give five fields ("0 3 * * 1"), or a word such as @daily.
{{- end }}
{{- range $name, $count := .job.resources.limits }}
{{- if and (gt (int $.job.gpus) 0) (regexMatch "/(gpu|mig-)" $name) (ne (int $.job.gpus) (int (toString $count))) }}
- jobs.{{ $.kind }}.gpus: it is {{ $.job.gpus }}, and jobs.{{ $.kind }}.resources.limits has {{ $name }}: {{ $count }}. Set both to the same number: each GPU gets a process.
{{- end }}
{{- end }}
{{- if and .job.enabled (gt (int .job.gpus) 0) (not (or .image.tagSuffix .image.tag .image.digest)) }}
- jobs.{{ .kind }}.gpus: the default trainer image has no CUDA. Set images.trainer.tagSuffix=-cuda, or a tag or digest of yours.
{{- else if and .job.enabled (gt (int .job.gpus) 0) (ternary (not (contains "cuda" .recipe.inline)) (regexMatch "^[a-z0-9-]+$" .recipe.name) (ne .recipe.inline "")) }}
- jobs.{{ .kind }}.gpus: the recipe trains on the CPU, and the GPU would stay idle. Give a recipe with `training: {device: cuda}` (jobs.recipe.inline, or its URI in jobs.recipe.name).
{{- end }}
{{- end }}
