{{/*
Several processes that train one model: pods of an Indexed Job find pod 0 by its name in a headless Service. All pods are started
together and go on together from the last checkpoint when one is lost. Context of both: root.
*/}}
{{- define "sightline.train.env" -}}
- name: NODE_RANK
  valueFrom:
    fieldRef: {fieldPath: "metadata.annotations['batch.kubernetes.io/job-completion-index']"}
{{- end -}}

{{- define "sightline.train.torchrun" -}}
- -m
- training.job_torchrun
- --nnodes={{ .Values.jobs.train.processes }}
- --nproc-per-node={{ max 1 (int .Values.jobs.train.gpus) }}
- --node-rank=$(NODE_RANK)
- --master-addr=$(JOB_NAME)-0.{{ include "sightline.componentName" (dict "root" . "component" "train") }}
- --master-port=29500
- --max-restarts=0
- -m
- training.job
{{- end -}}
