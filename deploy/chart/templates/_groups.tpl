{{/* What follows from the values, once: every Deployment of workers, with all that its objects need to know.
     The same rules as springtide.deploy.installation. */}}

{{/* dict "below" map "above" map: the first with the second on top; tables are merged, lists replaced. */}}
{{- define "springtide.over" -}}
{{- $out := deepCopy .below -}}
{{- range $key, $value := .above -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $out $key)) -}}
{{- $table := deepCopy (get $out $key) -}}
{{- range $name, $inner := $value -}}{{- $_ := set $table $name $inner -}}{{- end -}}
{{- $_ := set $out $key $table -}}
{{- else -}}
{{- $_ := set $out $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $out -}}
{{- end -}}

{{/* All models with their defaults. */}}
{{- define "springtide.models" -}}
{{- $defaults := fromYaml (include "springtide.modelDefaults" .) -}}
{{- $models := dict -}}
{{- range $name, $model := .Values.models -}}
{{- $_ := set $models $name (fromYaml (include "springtide.over" (dict "below" $defaults "above" $model))) -}}
{{- end -}}
{{- toYaml $models -}}
{{- end -}}

{{- define "springtide.groups" -}}
{{- $root := . -}}
{{- $models := fromYaml (include "springtide.models" .) -}}
{{- $groups := list -}}
{{- $pooled := list -}}
{{- range $name, $pool := .Values.workers -}}
{{- $pooled = concat $pooled $pool.models -}}
{{- end -}}
{{- range $name, $model := $models -}}
{{- if not (has $name $pooled) -}}
{{- $groups = append $groups (fromYaml (include "springtide.group" (dict "root" $root "name" $name "members" (list $name) "sizes" $model "models" $models "flag" "--model"))) -}}
{{- end -}}
{{- end -}}
{{- $poolDefaults := fromYaml (include "springtide.poolDefaults" .) -}}
{{- range $name, $pool := .Values.workers -}}
{{- $sizes := fromYaml (include "springtide.over" (dict "below" $poolDefaults "above" $pool)) -}}
{{- $groups = append $groups (fromYaml (include "springtide.group" (dict "root" $root "name" $name "members" $pool.models "sizes" $sizes "models" $models "flag" "--pool"))) -}}
{{- end -}}
{{- toYaml (dict "groups" $groups) -}}
{{- end -}}

{{- define "springtide.group" -}}
{{- $k := .root.Values.kubernetes -}}
{{- $own := get $k.models .name | default dict -}}
{{- $pods := fromYaml (include "springtide.over" (dict "below" $k.worker "above" $own)) -}}
{{- $longest := 0 -}}
{{- $loads := 0 -}}
{{- range $member := .members -}}
{{- $model := get $.models $member -}}
{{- $longest = max $longest (int (ceil $model.timeout_s)) (int (ceil $model.grace_s)) -}}
{{- $loads = max $loads (int (ceil (mulf $model.load_timeout_s $model.load_attempts))) -}}
{{- end -}}
{{- $cpus := "" -}}
{{- if hasKey .sizes "cpus" -}}{{- $cpus = printf "%dm" (int (ceil (mulf .sizes.cpus 1000))) -}}{{- end -}}
name: {{ .name | quote }}
label: {{ include "springtide.labelValue" .name | quote }}
objectName: {{ include "springtide.objectName" (printf "%s-worker-%s" $k.name .name) }}
flag: {{ .flag | quote }}
members: {{ toJson .members }}
image: {{ $pods.image | default $k.images.worker | quote }}
minReplicas: {{ int .sizes.min_replicas }}
maxReplicas: {{ int .sizes.max_replicas }}
accelerators: {{ .sizes.accelerators }}
graceSeconds: {{ add $longest 45 }}
loadSeconds: {{ add $loads 60 }}
cpu: {{ $pods.cpu | default $cpus | default "1" | quote }}
cpuLimit: {{ $pods.cpu_limit | default $cpus | default "4" | quote }}
gpus:
  {{- if gt (float64 .sizes.accelerators) 0.0 }}
  {{- $whole := ceil .sizes.accelerators }}
  {{ $pods.gpu_resource }}: {{ int $whole | quote }}
  {{- if and $pods.gpu_memory_resource $pods.gpu_memory_mb }}
  {{ $pods.gpu_memory_resource }}: {{ int $pods.gpu_memory_mb | quote }}
  {{- end }}
  {{- with $pods.gpu_cores_resource }}
  {{ . }}: {{ int (ceil (mulf (divf $.sizes.accelerators $whole) 100)) | quote }}
  {{- end }}
  {{- else }} {}
  {{- end }}
pods:
  {{- toYaml $pods | nindent 2 }}
{{- end -}}

{{/* springtide.toml as the pods read it: a worker may take as long to leave as its longest job, and is ready only after
     a first run. */}}
{{- define "springtide.file" -}}
{{- $file := deepCopy (omit .Values "kubernetes" "global") -}}
{{- $defaults := fromYaml (include "springtide.modelDefaults" .) -}}
{{- range $name, $model := $file.models -}}
{{- if not (hasKey $model "grace_s") -}}
{{- $_ := set $model "grace_s" (get $model "timeout_s" | default $defaults.timeout_s) -}}
{{- end -}}
{{- if ne (get $model "warm_up") "always" -}}{{- $_ := set $model "warm_up" "always" -}}{{- end -}}
{{- end -}}
{{- if not $file.workers -}}{{- $_ := unset $file "workers" -}}{{- end -}}
{{- toYaml $file -}}
{{- end -}}
