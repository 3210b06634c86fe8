{{/* Made by `python docs/generate.py` from the code. */}}

{{- define "springtide.modelDefaults" -}}
timeout_s: 1800
grace_s: 600
load_timeout_s: 300
load_attempts: 6
min_replicas: 0
max_replicas: 1
accelerators: 0
execution: worker
{{- end -}}

{{- define "springtide.poolDefaults" -}}
min_replicas: 0
max_replicas: 1
accelerators: 0
{{- end -}}

{{- define "springtide.groupDefaults" -}}
processes: 1
gpus_each: 0
cpus_each: 0
runs_as: auto
runtime: ""
volcano_queue: ""
{{- end -}}

{{- define "springtide.serverDefaults" -}}
max_upload_mb: 2048
{{- end -}}

{{- define "springtide.rules" -}}
- apiGroups:
    - apps
  resources:
    - deployments
  verbs:
    - list
    - watch
- apiGroups:
    - apps
  resources:
    - deployments/scale
  verbs:
    - get
    - patch
- apiGroups:
    - ""
  resources:
    - pods
  verbs:
    - list
    - watch
    - patch
- apiGroups:
    - ""
  resources:
    - pods/eviction
  verbs:
    - create
- apiGroups:
    - ""
  resources:
    - events
  verbs:
    - list
- apiGroups:
    - ""
  resources:
    - events
  verbs:
    - create
- apiGroups:
    - coordination.k8s.io
  resources:
    - leases
  verbs:
    - get
    - create
    - update
{{- end -}}

{{- define "springtide.pytorchjobRules" -}}
- apiGroups:
    - kubeflow.org
  resources:
    - pytorchjobs
  verbs:
    - get
    - list
    - watch
    - create
    - delete
{{- end -}}

{{- define "springtide.trainjobRules" -}}
- apiGroups:
    - trainer.kubeflow.org
  resources:
    - trainjobs
  verbs:
    - get
    - list
    - watch
    - create
    - delete
{{- end -}}

{{- define "springtide.gangRules" -}}
- apiGroups:
    - ""
  resources:
    - pods
  verbs:
    - list
    - watch
- apiGroups:
    - ""
  resources:
    - events
  verbs:
    - list
- apiGroups:
    - ""
  resources:
    - events
  verbs:
    - create
{{- end -}}
