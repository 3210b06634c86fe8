{{/* What the pods of all roles have in common: the same as springtide.deploy.pods. */}}

{{- define "springtide.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "springtide.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* list "NAME" "secret/key" */}}
{{- define "springtide.fromSecret" -}}
{{- $parts := splitList "/" (index . 1) -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index $parts 0 }}
      key: {{ index $parts 1 }}
{{- end -}}

{{/* dict "root" $ "broker" bool "ledger" bool */}}
{{- define "springtide.env" -}}
{{- $k := .root.Values.kubernetes -}}
{{- if or $k.trial.s3 (and .broker $k.trial.redis) (and .ledger $k.trial.postgres) }}
{{ include "springtide.fromSecret" (list "TRIAL_PASSWORD" $k.secrets.trial_password) }}
{{- end }}
{{- if and .broker $k.trial.redis }}
- name: SPRINGTIDE_BROKER__URL
  value: redis://:$(TRIAL_PASSWORD)@{{ include "springtide.named" (list .root "redis") }}:6379/0
{{- else if .broker }}
{{ include "springtide.fromSecret" (list "SPRINGTIDE_BROKER__URL" $k.secrets.broker_url) }}
{{- end }}
{{- if and .ledger $k.trial.postgres }}
- name: SPRINGTIDE_LEDGER__URL
  value: postgresql://springtide:$(TRIAL_PASSWORD)@{{ include "springtide.named" (list .root "postgres") }}:5432/springtide
{{- else if .ledger }}
{{ include "springtide.fromSecret" (list "SPRINGTIDE_LEDGER__URL" $k.secrets.ledger_url) }}
{{- end }}
{{- if $k.trial.s3 }}
- name: SPRINGTIDE_BLOBS__URL
  value: s3://springtide/?endpoint=http://{{ include "springtide.named" (list .root "s3") }}:9000&region=us-east-1
- name: SPRINGTIDE_BLOBS__ACCESS_KEY_ID
  value: springtide
- name: SPRINGTIDE_BLOBS__SECRET_ACCESS_KEY
  value: $(TRIAL_PASSWORD)
- name: SPRINGTIDE_BLOBS__PRESIGNED_UPLOADS
  value: "false"
{{- else if and $k.secrets.access_key_id $k.secrets.secret_access_key }}
{{ include "springtide.fromSecret" (list "SPRINGTIDE_BLOBS__ACCESS_KEY_ID" $k.secrets.access_key_id) }}
{{ include "springtide.fromSecret" (list "SPRINGTIDE_BLOBS__SECRET_ACCESS_KEY" $k.secrets.secret_access_key) }}
{{- end }}
- name: SPRINGTIDE_CONFIG
  value: /etc/springtide/springtide.toml
- name: SPRINGTIDE_SERVER__DATA_DIR
  value: /var/lib/springtide
- name: SPRINGTIDE_SERVER__WEIGHTS_DIR
  value: /weights
{{- end -}}

{{- define "springtide.metricsEnv" -}}
- name: SPRINGTIDE_TELEMETRY__METRICS_HOST
  value: "0.0.0.0"
- name: SPRINGTIDE_TELEMETRY__METRICS_PORT
  value: "9321"
{{- end -}}

{{/* dict "path" "port" "every" "failures" ["grace"] */}}
{{- define "springtide.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
periodSeconds: {{ .every }}
timeoutSeconds: 5
failureThreshold: {{ .failures }}
{{- with .grace }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
{{- end -}}

{{- define "springtide.mounts" -}}
- name: config
  mountPath: /etc/springtide
  readOnly: true
- name: data
  mountPath: /var/lib/springtide
- name: tmp
  mountPath: /tmp
{{- end -}}

{{/* list $ "20Gi" */}}
{{- define "springtide.volumes" -}}
- name: config
  configMap:
    name: {{ include "springtide.named" (list (index . 0) "config") }}
- name: data
  emptyDir:
    sizeLimit: {{ index . 1 }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- end -}}

{{/* Pods with these labels (YAML) rather not on one host. */}}
{{- define "springtide.apart" -}}
preferredDuringSchedulingIgnoredDuringExecution:
  - weight: 100
    podAffinityTerm:
      topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels:
          {{- . | nindent 10 }}
{{- end -}}

{{/* list "labels as YAML" "key" */}}
{{- define "springtide.spread" -}}
- maxSkew: 1
  topologyKey: {{ index . 1 }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- index . 0 | nindent 6 }}
{{- end -}}

{{- define "springtide.pullSecrets" -}}
{{- with .Values.kubernetes.images.pull_secrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where in the cluster a pod is, for those that ask the API server. */}}
{{- define "springtide.placeEnv" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: SPRINGTIDE_KUBERNETES__NAME
  value: {{ .Values.kubernetes.name }}
- name: SPRINGTIDE_KUBERNETES__NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end -}}

{{/* Of the pods' settings. */}}
{{- define "springtide.tolerations" -}}
{{- with .tolerations -}}
{{- toYaml . }}
{{ end -}}
# A node that does not answer is left after seconds, not after the usual five minutes.
{{- $after := int .gone_after_s }}
{{- range list "not-ready" "unreachable" }}
- key: node.kubernetes.io/{{ . }}
  operator: Exists
  effect: NoExecute
  tolerationSeconds: {{ $after }}
{{- end }}
{{- end -}}

{{/* list $ group: copies model files into the cache; the same as springtide.deploy.weights. */}}
{{- define "springtide.weightsContainer" -}}
{{- $root := index . 0 -}}
{{- $group := index . 1 -}}
{{- $k := $root.Values.kubernetes -}}
{{- $weights := $k.weights -}}
- name: weights
  image: {{ $group.image | quote }}
  imagePullPolicy: {{ $k.images.pull_policy }}
  args:
    - models
    - stage
    {{- range $group.members }}
    - {{ . | quote }}
    {{- end }}
    {{- if or $weights.image $weights.claim }}
    - --share
    - /share
    - --share-timeout
    - {{ int $weights.share_timeout_s | quote }}
    {{- end }}
    {{- with $weights.url }}
    - --url
    - {{ . | quote }}
    {{- end }}
    {{- if not $weights.pull }}
    - --no-pull
    {{- end }}
  env:
    {{- include "springtide.env" (dict "root" $root "broker" false "ledger" false) | trim | nindent 4 }}
  securityContext:
    {{- include "springtide.containerSecurity" $root | nindent 4 }}
  resources:
    requests:
      cpu: 500m
      memory: 1Gi
    limits:
      cpu: "2"
      memory: 2Gi
  volumeMounts:
    {{- include "springtide.mounts" $root | nindent 4 }}
    - name: weights
      mountPath: /weights
    {{- if or $weights.image $weights.claim }}
    - name: share
      mountPath: /share
      readOnly: true
    {{- end }}
{{- end -}}

{{/* list $ copies: the cache, and the share for a pod that copies from it. */}}
{{- define "springtide.weightsVolumes" -}}
{{- $k := (index . 0).Values.kubernetes -}}
{{- $weights := $k.weights -}}
- name: weights
  {{- if eq $weights.cache "node" }}
  hostPath:
    path: {{ $weights.cache_path }}
    type: Directory
  {{- else }}
  emptyDir:
    sizeLimit: {{ $weights.cache_size }}
  {{- end }}
{{- if not (index . 1) }}
{{- else if $weights.image }}
- name: share
  image:
    reference: {{ $weights.image | quote }}
    pullPolicy: {{ $k.images.pull_policy }}
{{- else if $weights.claim }}
- name: share
  persistentVolumeClaim:
    claimName: {{ $weights.claim }}
    readOnly: true
{{- end }}
{{- end -}}
