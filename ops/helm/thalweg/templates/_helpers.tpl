{{/* The names of what the chart makes. */}}
{{- define "thalweg.name" -}}
{{- if contains "thalweg" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-thalweg" (.Release.Name | trunc 44 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "thalweg.learner" -}}
{{ include "thalweg.name" . | trunc 44 | trimSuffix "-" }}-learner
{{- end }}

{{- define "thalweg.standby" -}}
{{ include "thalweg.name" . | trunc 44 | trimSuffix "-" }}-standby
{{- end }}

{{/* Whether there is one: yes, or nothing. */}}
{{- define "thalweg.hasStandby" -}}
{{- if and .Values.split.enabled .Values.split.standby.replicas }}yes{{ end }}
{{- end }}

{{/* So many learner processes are there unless one is missing. */}}
{{- define "thalweg.leastLearners" -}}
{{- $pods := ternary .Values.split.learners.autoscaling.minReplicas .Values.split.learners.replicas .Values.split.learners.autoscaling.enabled -}}
{{ mul $pods .Values.learners }}
{{- end }}

{{- define "thalweg.selector" -}}
app.kubernetes.io/name: thalweg
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the pods of one kind: (list . "learner"), (list . "server"); without a kind those of all, where all are in one. */}}
{{- define "thalweg.kind" -}}
{{ include "thalweg.selector" (index . 0) }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "thalweg.server" -}}
{{ ternary "server" "" .Values.split.enabled }}
{{- end }}

{{- define "thalweg.labels" -}}
{{ include "thalweg.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "thalweg.check" -}}
{{- if and .Values.tls.clientCa (not .Values.tls.existingSecret) }}
{{- fail "tls.clientCa: expected tls.existingSecret beside it: without a certificate the service is plain text" }}
{{- end }}
{{- range $name, $_ := merge (dict) .Values.env .Values.secretEnv }}
{{- if has (upper $name) (list "THALWEG_SERVICE__GRPC" "THALWEG_SERVICE__HTTP" "THALWEG_SERVICE__STATE_DIR" "THALWEG_SERVICE__SERVERS" "THALWEG_SERVICE__LEARNERS" "THALWEG_SERVICE__ROLE" "THALWEG_SERVICE__LEAST_LEARNERS") }}
{{- fail (printf "env: %s is set by the chart (service.bindAddress, servers, learners, split)" $name) }}
{{- end }}
{{- end }}
{{- range $name, $_ := .Values.secretEnv }}
{{- if hasKey $.Values.env $name }}
{{- fail (printf "env, secretEnv: expected %s in one of them, got it in both" $name) }}
{{- end }}
{{- end }}
{{- if and .Values.split.enabled .Values.persistence.existingClaim }}
{{- fail "persistence.existingClaim: expected one pod, got split.enabled: every learner has a volume of its own" }}
{{- end }}
{{- range $key := list "containers" "volumes" "securityContext" "serviceAccountName" "terminationGracePeriodSeconds" "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "initContainers" "imagePullSecrets" "priorityClassName" "automountServiceAccountToken" "enableServiceLinks" "hostname" }}
{{- if hasKey $.Values.podSpec $key }}
{{- fail (printf "podSpec: %s is set by the chart, or by a value of its own" $key) }}
{{- end }}
{{- end }}
{{- include "thalweg.checkGrace" . }}
{{- if and .Values.existingConfigMap (hasKey .Values "config") }}
{{- fail "config: expected either config or existingConfigMap, got both: the latter would be used, and config ignored" }}
{{- end }}
{{- if and .Values.split.standby.replicas (not .Values.split.enabled) }}
{{- fail (printf "split.standby: expected split.enabled beside it, got %d standbys of one pod with everything" (int .Values.split.standby.replicas)) }}
{{- end }}
{{- if .Values.split.enabled }}
{{- $names := keys .Values.env .Values.secretEnv | join " " | upper }}
{{- $config := ternary "" (include "thalweg.config" .) (ne .Values.existingConfigMap "") }}
{{- $shared := or (contains "THALWEG_STORE__URL" $names) (contains "THALWEG_SERVICE__STATE_URL" $names) (contains "redis://" $config) (contains "rediss://" $config) (contains "state_url" $config) }}
{{- if not (or $shared .Values.existingConfigMap) }}
{{- fail "split: expected THALWEG_STORE__URL (a Redis) or THALWEG_SERVICE__STATE_URL (an object store) in env or secretEnv: versions reach the servers by one of them" }}
{{- end }}
{{- $most := ternary .Values.split.learners.autoscaling.maxReplicas .Values.split.learners.replicas .Values.split.learners.autoscaling.enabled | int }}
{{- if and (gt $most 1) $config (not (or (contains "THALWEG_SERVICE__STATE_URL" $names) (contains "state_url" $config))) }}
{{- fail (printf "split.learners: expected THALWEG_SERVICE__STATE_URL (an object store) in env or secretEnv, got %d learners and no place where a partition that moves finds its state: it would be learned anew" $most) }}
{{- end }}
{{- if and (gt $most 1) $config (not (regexMatch "(?m)^\\s*(\\[model\\.scale\\]|scale\\s*=|scale\\.)" $config)) }}
{{- fail (printf "split.learners: expected [model.scale] in config, got %d learners and no model that several can learn" $most) }}
{{- end }}
{{- if and (include "thalweg.hasStandby" .) $config (not (or (contains "THALWEG_SERVICE__STATE_URL" $names) (contains "state_url" $config))) }}
{{- fail "split.standby: expected THALWEG_SERVICE__STATE_URL (an object store) in env or secretEnv: a standby follows the shards of learners by it" }}
{{- end }}
{{- if and (include "thalweg.hasStandby" .) $config (not (regexMatch "(?m)^\\s*(\\[model\\.scale\\]|scale\\s*=|scale\\.)" $config)) }}
{{- fail "split.standby: expected [model.scale] in config: a standby takes over shards, and there are none" }}
{{- end }}
{{- with .Values.split.learners.autoscaling }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{- fail (printf "split.learners.autoscaling: expected minReplicas of at most maxReplicas (%d), got %d" (int .maxReplicas) (int .minReplicas)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Servers drain, then learners save: each as long as drain_seconds, and 5 seconds more until it is killed. */}}
{{- define "thalweg.checkGrace" -}}
{{- $given := dict "drain" "10" -}}
{{- with regexFind "(?m)^\\s*drain_seconds\\s*=\\s*[0-9.]+" (ternary "" (include "thalweg.config" .) (ne .Values.existingConfigMap "")) }}
{{- $_ := set $given "drain" (regexFind "[0-9.]+$" .) }}
{{- end }}
{{- range $name, $value := .Values.env }}
{{- if eq (upper $name) "THALWEG_SERVICE__DRAIN_SECONDS" }}
{{- $_ := set $given "drain" (toString $value) }}
{{- end }}
{{- end }}
{{- $needed := add (ceil (mulf 2 (float64 $given.drain))) 10 .Values.preStopSeconds -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $needed) }}
{{- fail (printf "terminationGracePeriodSeconds: expected at least %d (preStopSeconds, and twice drain_seconds + 5 for servers and learners, one after the other), got %d: what is not saved by then is killed" (int $needed) (int .Values.terminationGracePeriodSeconds)) }}
{{- end }}
{{- end }}

{{/* thalweg.toml, whole. */}}
{{- define "thalweg.config" -}}
{{- if hasKey .Values "config" -}}
{{- required "config: expected the content of thalweg.toml, or existingConfigMap" .Values.config -}}
{{- else -}}
{{- .Files.Get "example.toml" -}}
{{- end -}}
{{- end }}

{{- define "thalweg.configMap" -}}
{{ .Values.existingConfigMap | default (include "thalweg.name" .) }}
{{- end }}

{{/* What asks for health: over TLS; where clients need certificates, which probes have none of, on a port of its own. */}}
{{- define "thalweg.probe" -}}
{{- $values := index . 0 -}}
{{- if and $values.tls.existingSecret $values.tls.clientCa -}}
httpGet: { path: {{ index . 1 | quote }}, port: health }
{{- else -}}
httpGet: { path: {{ index . 1 | quote }}, port: http{{ if $values.tls.existingSecret }}, scheme: HTTPS{{ end }} }
{{- end }}
{{- end }}

{{/* The ports of a service for callers. */}}
{{- define "thalweg.ports" -}}
- { name: http, port: {{ .Values.service.httpPort }}, targetPort: http, appProtocol: {{ ternary "https" "http" (ne .Values.tls.existingSecret "") }} }
- { name: grpc, port: {{ .Values.service.grpcPort }}, targetPort: grpc, appProtocol: {{ include "thalweg.grpcProtocol" . }} }
{{- end }}

{{/* `grpc` means plain text to meshes and gateways. */}}
{{- define "thalweg.grpcProtocol" -}}
{{ ternary "https" "grpc" (ne .Values.tls.existingSecret "") }}
{{- end }}

{{/* IPv4 or IPv6 addresses of services, as the cluster has it by default. */}}
{{- define "thalweg.families" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end }}

{{/* What pods may reach: names, and what networkPolicy.egress lists; without it everything. */}}
{{- define "thalweg.egress" -}}
{{- with .Values.networkPolicy.egress }}
egress:
  - ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
