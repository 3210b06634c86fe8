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

{{/* All models with their defaults, and the versions beside them as name@version. */}}
{{- define "springtide.models" -}}
{{- $defaults := fromYaml (include "springtide.modelDefaults" .) -}}
{{- $models := dict -}}
{{- range $name, $model := (fromYaml (include "springtide.file" .)).models -}}
{{- $whole := fromYaml (include "springtide.over" (dict "below" $defaults "above" (omit $model "versions"))) -}}
{{- $_ := set $models $name $whole -}}
{{- range $version, $given := $model.versions -}}
{{- $_ := set $models (printf "%s@%s" $name $version) (fromYaml (include "springtide.over" (dict "below" $whole "above" $given))) -}}
{{- end -}}
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
{{- $parts := splitList "@" .name -}}
{{- $model := index $parts 0 -}}
{{- $pods := fromYaml (include "springtide.over" (dict "below" $k.worker "above" (get $k.models $model | default dict))) -}}
{{- if gt (len $parts) 1 -}}
{{- $pods = fromYaml (include "springtide.over" (dict "below" $pods "above" (get $k.models .name | default dict))) -}}
{{- end -}}
{{- $suffix := "" -}}
{{- if gt (len $parts) 1 -}}{{- $suffix = printf "--%s" (index $parts 1) -}}{{- end -}}
{{- $longest := 0 -}}
{{- $loads := 0 -}}
{{- $launches := false -}}
{{- $own := dict -}}
{{- range $member := .members -}}
{{- $one := get $.models $member -}}
{{- if eq $one.execution "distributed" -}}
{{- $launches = true -}}
{{- $own = fromYaml (include "springtide.over" (dict "below" (fromYaml (include "springtide.groupDefaults" .)) "above" ($one.group | default dict))) -}}
{{- if eq $own.runs_as "processes" -}}
{{- fail (printf "models.%s.group.runs_as: in a cluster a group is an object of its own; leave it out, or set pytorchjob or trainjob" $member) -}}
{{- end -}}
{{- if eq $own.runs_as "auto" -}}{{- $_ := set $own "runs_as" "pytorchjob" -}}{{- end -}}
{{- end -}}
{{- $longest = max $longest (int (ceil $one.timeout_s)) (int (ceil $one.grace_s)) -}}
{{- $loads = max $loads (int (ceil (mulf $one.load_timeout_s $one.load_attempts))) -}}
{{- end -}}
{{- $cpus := "" -}}
{{- if hasKey .sizes "cpus" -}}{{- $cpus = printf "%dm" (int (ceil (mulf .sizes.cpus 1000))) -}}{{- end -}}
name: {{ .name | quote }}
model: {{ $model | quote }}
version: {{ gt (len $parts) 1 | ternary (last $parts) "stable" | quote }}
objectName: {{ include "springtide.objectName" (printf "%s-worker-%s%s" $k.name $model $suffix) }}
flag: {{ .flag | quote }}
members: {{ toJson .members }}
image: {{ $pods.image | default $k.images.worker | quote }}
minReplicas: {{ int .sizes.min_replicas }}
maxReplicas: {{ int .sizes.max_replicas }}
accelerators: {{ .sizes.accelerators }}
# Its jobs run in groups of processes that it starts: it computes nothing itself.
launches: {{ $launches }}
ranks: {{ toJson $own }}
runtimeName: {{ include "springtide.objectName" (printf "%s-group-%s%s" $k.name $model $suffix) }}
graceSeconds: {{ add $longest 45 }}
loadSeconds: {{ add $loads 60 }}
cpu: {{ $launches | ternary "250m" ($pods.cpu | default $cpus | default "1") | quote }}
cpuLimit: {{ $launches | ternary "2" ($pods.cpu_limit | default $cpus | default "4") | quote }}
memory: {{ $launches | ternary "512Mi" $pods.memory | quote }}
gpus:
  {{- if $launches }} {}
  {{- else if gt (float64 .sizes.accelerators) 0.0 }}
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

{{/* What groups of processes are started as: pytorchjob, trainjob. */}}
{{- define "springtide.started" -}}
{{- $found := list -}}
{{- range (fromYaml (include "springtide.groups" .)).groups -}}
{{- if .launches -}}{{- $found = append $found .ranks.runs_as -}}{{- end -}}
{{- end -}}
{{- toYaml (sortAlpha (uniq $found)) -}}
{{- end -}}

{{/* springtide.toml as the pods read it: a worker may take as long to leave as its longest job, and is ready only after
     a first run. */}}
{{- define "springtide.file" -}}
{{- $file := deepCopy (omit .Values "global") -}}
{{- $_ := unset $file.kubernetes "namespace" -}}
{{- $defaults := fromYaml (include "springtide.modelDefaults" .) -}}
{{- range $name, $model := $file.models -}}
{{- if not (hasKey $model "grace_s") -}}
{{- $_ := set $model "grace_s" (get $model "timeout_s" | default $defaults.timeout_s) -}}
{{- end -}}
{{- if ne (get $model "warm_up") "always" -}}{{- $_ := set $model "warm_up" "always" -}}{{- end -}}
{{- range $version, $given := $model.versions -}}
{{- if and (hasKey $given "timeout_s") (not (hasKey $given "grace_s")) -}}{{- $_ := set $given "grace_s" $given.timeout_s -}}{{- end -}}
{{- if eq (get $given "warm_up") "auto" -}}{{- $_ := set $given "warm_up" "always" -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $file.workers -}}{{- $_ := unset $file "workers" -}}{{- end -}}
{{- toYaml $file -}}
{{- end -}}
