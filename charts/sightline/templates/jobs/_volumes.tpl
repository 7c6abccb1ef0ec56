{{/* Places of the Jobs: the claim at /volume, scratch at /work. */}}

{{/* Name of the claim, empty where no Job has one. Context: root. */}}
{{- define "sightline.jobs.claim" -}}
{{- $uses := "" -}}
{{- range $kind := list "train" "lift" "publish" "backfill" -}}
{{- $uses = printf "%s%s" $uses (include "sightline.jobs.needsClaim" (dict "root" $ "kind" $kind)) -}}
{{- end -}}
{{- $create := toString .Values.jobs.volume.create -}}
{{- if .Values.jobs.volume.existingClaim -}}
{{ .Values.jobs.volume.existingClaim }}
{{- else if or (eq $create "true") (and (eq $create "auto") $uses) -}}
{{ include "sightline.componentName" (dict "root" . "component" "jobs") }}
{{- end -}}
{{- end -}}

{{/*
Whether a Job would lose its work without a volume, or names one: "y" or empty. Processes on several nodes can share
only a claim that several nodes may mount. Takes (dict "root" $ "kind" "train").
*/}}
{{- define "sightline.jobs.needsClaim" -}}
{{- $jobs := .root.Values.jobs -}}
{{- $shared := ne $jobs.volume.accessMode "ReadWriteMany" | ternary (le (int $jobs.train.processes) 1) true -}}
{{- $places := dict "train" (list "/volume/") "lift" (list "/volume/") "publish" (list (default "/volume/" $jobs.store.uri) $jobs.publish.bundle) "backfill" (list $jobs.captions $jobs.data $jobs.tokenizer $jobs.recipe.name) -}}
{{- if and (index $jobs .kind).enabled (or (ne .kind "train") $shared) -}}
{{- range index $places .kind -}}{{- if hasPrefix "/volume/" . -}}y{{- end -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Name of the claim that a Job mounts; empty for the bootstrap Job. Takes (dict "root" $ "kind" "train"). */}}
{{- define "sightline.jobs.claimOf" -}}
{{- $volume := .root.Values.jobs.volume -}}
{{- if and (ne .kind "bootstrap") (or $volume.existingClaim (ne (toString $volume.create) "auto") (include "sightline.jobs.needsClaim" .)) -}}
{{ include "sightline.jobs.claim" .root }}
{{- end -}}
{{- end -}}

{{/* URI of the model store; empty when there is no place for one. Context: root. */}}
{{- define "sightline.jobs.store" -}}
{{- .Values.jobs.store.uri | default (ternary "/volume/models" "" (ne (include "sightline.jobs.claim" .) "")) -}}
{{- end -}}

{{/* Takes (dict "root" $ "kind" "train"). */}}
{{- define "sightline.jobs.work" -}}
{{- $on := toString .root.Values.jobs.work.onVolume -}}
{{- $auto := and (eq $on "auto") (include "sightline.jobs.claimOf" .) -}}
{{- if or (eq $on "true") $auto -}}
/volume/work/$(JOB_NAME)
{{- else -}}
/work
{{- end -}}
{{- end -}}

{{- define "sightline.jobs.recipe" -}}
{{- ternary "/etc/sightline/recipe/recipe.yaml" .Values.jobs.recipe.name (ne .Values.jobs.recipe.inline "") -}}
{{- end -}}

{{/* Name of the recipe's ConfigMap; the hash makes a changed recipe a new Job. */}}
{{- define "sightline.jobs.recipeName" -}}
{{- printf "%s-%s" (include "sightline.componentName" (dict "root" . "component" "recipe")) (sha256sum .Values.jobs.recipe.inline | trunc 8) -}}
{{- end -}}

{{/* The two below take what sightline.job takes. */}}
{{- define "sightline.job.volumes" -}}
- name: tmp
  emptyDir: {}
- name: work
  emptyDir: {{ with .workSize }}{sizeLimit: {{ . }}}{{ else }}{}{{ end }}
{{- if .torchrun }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: 1Gi}
{{- end }}
{{- with include "sightline.jobs.claimOf" (dict "root" .root "kind" .kind) }}
- name: volume
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- if and .recipe .root.Values.jobs.recipe.inline }}
- name: recipe
  configMap:
    name: {{ include "sightline.jobs.recipeName" .root }}
{{- end }}
{{- if .items }}
{{- include "sightline.items.volumes" .root }}
{{- include "sightline.tls.authorities" (dict "root" .root "parts" (list "items" "captioner")) }}
{{- end }}
{{- end -}}

{{- define "sightline.job.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: work, mountPath: /work}
{{- if .torchrun }}
- {name: shm, mountPath: /dev/shm}
{{- end }}
{{- with include "sightline.jobs.claimOf" (dict "root" .root "kind" .kind) }}
- {name: volume, mountPath: /volume}
{{- end }}
{{- if and .recipe .root.Values.jobs.recipe.inline }}
- {name: recipe, mountPath: /etc/sightline/recipe, readOnly: true}
{{- end }}
{{- if .items }}
{{- include "sightline.items.volumeMounts" .root }}
{{- include "sightline.tls.authoritiesMount" (dict "root" .root "parts" (list "items" "captioner")) }}
{{- end }}
{{- end -}}
