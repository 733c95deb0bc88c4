{{/* The names of what the chart makes. */}}
{{- define "thalweg.name" -}}
{{- if contains "thalweg" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-thalweg" (.Release.Name | trunc 44 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "thalweg.selector" -}}
app.kubernetes.io/name: thalweg
app.kubernetes.io/instance: {{ .Release.Name }}
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
{{- if has (upper $name) (list "THALWEG_SERVICE__GRPC" "THALWEG_SERVICE__HTTP" "THALWEG_SERVICE__STATE_DIR" "THALWEG_SERVICE__SERVERS" "THALWEG_SERVICE__LEARNERS") }}
{{- fail (printf "env: %s is set by the chart (service.bindAddress, servers, learners)" $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "thalweg.configMap" -}}
{{ .Values.existingConfigMap | default (include "thalweg.name" .) }}
{{- end }}

{{/* What asks for health: over TLS, and where clients need certificates only whether somebody listens. */}}
{{- define "thalweg.probe" -}}
{{- $values := index . 0 -}}
{{- if and $values.tls.existingSecret $values.tls.clientCa -}}
tcpSocket: { port: http }
{{- else -}}
httpGet: { path: {{ index . 1 }}, port: http{{ if $values.tls.existingSecret }}, scheme: HTTPS{{ end }} }
{{- end }}
{{- end }}
