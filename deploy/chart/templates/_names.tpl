{{/* Names and labels: the same rules as springtide.fleet.labels. */}}

{{- define "springtide.objectName" -}}
{{- $wanted := . -}}
{{- $name := trimAll "-" (regexReplaceAll "[^a-z0-9-]" (lower $wanted) "-") -}}
{{- if and (eq $name $wanted) (le (len $name) 46) (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) -}}
{{- $name -}}
{{- else -}}
{{- printf "%s-%s" (regexReplaceAll "-+$" (trunc 37 $name) "") (sha256sum $wanted | trunc 8) -}}
{{- end -}}
{{- end -}}

{{- define "springtide.labelValue" -}}
{{- if regexMatch "^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$" . -}}
{{- . -}}
{{- else -}}
{{- $short := trunc 54 (regexReplaceAll "[^A-Za-z0-9_.-]" . "-") -}}
{{- printf "%s-%s" (regexReplaceAll "^[-_.]+|[-_.]+$" $short "") (sha256sum . | trunc 8) -}}
{{- end -}}
{{- end -}}

{{/* list $ "gateway" -> springtide-gateway */}}
{{- define "springtide.named" -}}
{{- include "springtide.objectName" (printf "%s-%s" (index . 0).Values.kubernetes.name (index . 1)) -}}
{{- end -}}

{{/* list $ "gateway" */}}
{{- define "springtide.selector" -}}
app.kubernetes.io/name: springtide
app.kubernetes.io/instance: {{ (index . 0).Values.kubernetes.name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "springtide.labels" -}}
{{ include "springtide.selector" . }}
app.kubernetes.io/part-of: springtide
{{- end -}}

{{/* list $ "name" "component" */}}
{{- define "springtide.metadata" -}}
name: {{ index . 1 }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "springtide.labels" (list (index . 0) (index . 2)) | nindent 2 }}
{{- end -}}

{{/* list $ group */}}
{{- define "springtide.workerSelector" -}}
{{ include "springtide.selector" (list (index . 0) "worker") }}
springtide.dev/model: {{ include "springtide.labelValue" (index . 1).model | quote }}
springtide.dev/version: {{ include "springtide.labelValue" (index . 1).version | quote }}
{{- end -}}

{{- define "springtide.workerMetadata" -}}
name: {{ (index . 1).objectName }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "springtide.workerSelector" . | nindent 2 }}
  app.kubernetes.io/part-of: springtide
  {{- with (index . 1).pods.queue }}
  kueue.x-k8s.io/queue-name: {{ . }}
  {{- end }}
{{- end -}}
