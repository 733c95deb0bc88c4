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
