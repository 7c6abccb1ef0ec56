{{/* Places of the Jobs: the claim at /volume, scratch at /work. Context of the first group: root. */}}

{{- define "sightline.jobs.claim" -}}
{{- if .Values.jobs.volume.create -}}
{{ include "sightline.componentName" (dict "root" . "component" "jobs") }}
{{- else -}}
{{ .Values.jobs.volume.existingClaim }}
{{- end -}}
{{- end -}}

{{/* URI of the model store; empty when there is no place for one. */}}
{{- define "sightline.jobs.store" -}}
{{- .Values.jobs.store.uri | default (ternary "/volume/models" "" (ne (include "sightline.jobs.claim" .) "")) -}}
{{- end -}}

{{- define "sightline.jobs.work" -}}
{{- ternary "/volume/work/$(JOB_NAME)" "/work" .Values.jobs.work.onVolume -}}
{{- end -}}

{{- define "sightline.jobs.recipe" -}}
{{- ternary "/etc/sightline/recipe/recipe.yaml" .Values.jobs.recipe.name (ne .Values.jobs.recipe.inline "") -}}
{{- end -}}

{{/* Name of the recipe's ConfigMap; the hash makes a changed recipe a new Job. */}}
{{- define "sightline.jobs.recipeName" -}}
{{- printf "%s-%s" (include "sightline.componentName" (dict "root" . "component" "recipe")) (sha256sum .Values.jobs.recipe.inline | trunc 8) -}}
{{- end -}}

{{/* The two below take what sightline.job takes; "storage" is false for the bootstrap Job, which needs none of them. */}}
{{- define "sightline.job.volumes" -}}
- name: tmp
  emptyDir: {}
- name: work
  emptyDir: {{ with .workSize }}{sizeLimit: {{ . }}}{{ else }}{}{{ end }}
{{- if .torchrun }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: 1Gi}
{{- end }}
{{- if .storage }}
{{- with include "sightline.jobs.claim" .root }}
- name: volume
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- end }}
{{- if and .recipe .root.Values.jobs.recipe.inline }}
- name: recipe
  configMap:
    name: {{ include "sightline.jobs.recipeName" .root }}
{{- end }}
{{- if .items }}
{{- include "sightline.items.volumes" .root }}
{{- end }}
{{- end -}}

{{- define "sightline.job.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: work, mountPath: /work}
{{- if .torchrun }}
- {name: shm, mountPath: /dev/shm}
{{- end }}
{{- if .storage }}
{{- with include "sightline.jobs.claim" .root }}
- {name: volume, mountPath: /volume}
{{- end }}
{{- end }}
{{- if and .recipe .root.Values.jobs.recipe.inline }}
- {name: recipe, mountPath: /etc/sightline/recipe, readOnly: true}
{{- end }}
{{- if .items }}
{{- include "sightline.items.volumeMounts" .root }}
{{- end }}
{{- end -}}
