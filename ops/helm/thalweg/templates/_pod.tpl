{{/* The pod of a kind: (list . "learner"), (list . "standby"), (list . "server"), (list . "") for all in one. */}}
{{- define "thalweg.pod" -}}
{{- $ := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $resources := $.Values.resources -}}
{{- if eq $kind "learner" }}{{ $resources = $.Values.split.learners.resources }}{{ else if eq $kind "standby" }}{{ $resources = $.Values.split.standby.resources }}{{ else if eq $kind "server" }}{{ $resources = $.Values.split.servers.resources }}{{ end -}}
metadata:
  labels:
    {{- include "thalweg.labels" $ | nindent 4 }}
    {{- with $kind }}
    app.kubernetes.io/component: {{ . }}
    {{- end }}
    {{- with $.Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    {{- if not $.Values.existingConfigMap }}
    checksum/config: {{ include "thalweg.config" $ | sha256sum }}
    {{- end }}
    {{- with $.Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "thalweg.name" $ }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $.Values.terminationGracePeriodSeconds }}
  {{- with $.Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext: {{- toYaml $.Values.podSecurityContext | nindent 4 }}
  {{- with $.Values.initContainers }}
  initContainers: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: thalweg
      image: "{{ $.Values.image.repository }}{{ with $.Values.image.digest }}@{{ . }}{{ else }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}{{ end }}"
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      args: [serve, /etc/thalweg/thalweg.toml, --log-format, json]
      env:
        - { name: THALWEG_SERVICE__GRPC, value: "{{ $.Values.service.bindAddress }}:8081" }
        - { name: THALWEG_SERVICE__HTTP, value: "{{ $.Values.service.bindAddress }}:8080" }
        - { name: THALWEG_SERVICE__STATE_DIR, value: /var/lib/thalweg/state }
        - { name: THALWEG_SERVICE__SERVERS, value: {{ $.Values.servers | quote }} }
        {{- if ne $kind "server" }}
        - { name: THALWEG_SERVICE__LEARNERS, value: {{ $.Values.learners | quote }} }
        {{- end }}
        {{- if $kind }}
        - { name: THALWEG_SERVICE__ROLE, value: {{ get (dict "learner" "learn" "standby" "standby" "server" "serve") $kind }} }
        {{- end }}
        {{- if eq $kind "standby" }}
        - { name: THALWEG_SERVICE__LEAST_LEARNERS, value: {{ include "thalweg.leastLearners" $ | quote }} }
        - { name: THALWEG_SERVICE__WARM_SHARDS, value: {{ $.Values.split.standby.warmShards | quote }} }
        {{- end }}
        {{- if $.Values.tokens.existingSecret }}
        - { name: THALWEG_SERVICE__TOKEN_FILE, value: /etc/thalweg/tokens/{{ $.Values.tokens.key }} }
        {{- end }}
        {{- if $.Values.tls.existingSecret }}
        - { name: THALWEG_SERVICE__TLS_CERTIFICATE, value: /etc/thalweg/tls/tls.crt }
        - { name: THALWEG_SERVICE__TLS_KEY, value: /etc/thalweg/tls/tls.key }
        {{- with $.Values.tls.clientCa }}
        - { name: THALWEG_SERVICE__TLS_CLIENT_CA, value: /etc/thalweg/tls/{{ . }} }
        - { name: THALWEG_SERVICE__HEALTH, value: "{{ $.Values.service.bindAddress }}:8082" }
        {{- end }}
        {{- end }}
        {{- if $.Values.secretFiles.existingSecret }}
        - { name: THALWEG_SECRETS_DIR, value: /etc/thalweg/secrets }
        {{- end }}
        {{- range $name, $value := $.Values.env }}
        - { name: {{ $name }}, value: {{ $value | toString | quote }} }
        {{- end }}
        {{- range $name, $from := $.Values.secretEnv }}
        - name: {{ $name }}
          valueFrom: { secretKeyRef: { name: {{ $from.name }}, key: {{ $from.key }} } }
        {{- end }}
      ports:
        - { name: http, containerPort: 8080 }
        {{- if not (has $kind (list "learner" "standby")) }}
        - { name: grpc, containerPort: 8081 }
        {{- end }}
        {{- if and $.Values.tls.existingSecret $.Values.tls.clientCa }}
        - { name: health, containerPort: 8082 }
        {{- end }}
      startupProbe: # a state is restored, and the end of the log learned again
        {{- include "thalweg.probe" (list $.Values "/healthz") | nindent 8 }}
        periodSeconds: 2
        failureThreshold: 150
      livenessProbe:
        {{- include "thalweg.probe" (list $.Values "/healthz") | nindent 8 }}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        {{- include "thalweg.probe" (list $.Values "/readyz?exclude=untrained") | nindent 8 }}
        periodSeconds: 5
        timeoutSeconds: 5
      {{- if and $.Values.preStopSeconds (not (has $kind (list "learner" "standby"))) }}
      lifecycle: # callers are told by their load balancers that it goes, and only then does it refuse new calls
        preStop: { exec: { command: [sleep, {{ $.Values.preStopSeconds | quote }}] } }
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      resources: {{- toYaml $resources | nindent 8 }}
      volumeMounts:
        - { name: state, mountPath: /var/lib/thalweg }
        - { name: shared-memory, mountPath: /dev/shm }
        - { name: temporary, mountPath: /tmp }
        - { name: config, mountPath: /etc/thalweg/thalweg.toml, subPath: thalweg.toml, readOnly: true }
        {{- if $.Values.tokens.existingSecret }}
        - { name: tokens, mountPath: /etc/thalweg/tokens, readOnly: true } # a folder: a file alone would never change
        {{- end }}
        {{- if $.Values.tls.existingSecret }}
        - { name: tls, mountPath: /etc/thalweg/tls, readOnly: true }
        {{- end }}
        {{- if $.Values.secretFiles.existingSecret }}
        - { name: secrets, mountPath: /etc/thalweg/secrets, readOnly: true }
        {{- end }}
        {{- with $.Values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
    {{- with $.Values.extraContainers }}{{ toYaml . | nindent 4 }}{{ end }}
  volumes:
    - name: shared-memory
      emptyDir: { medium: Memory, sizeLimit: {{ $.Values.sharedMemory }} }
    - name: temporary
      emptyDir: {}
    {{- if has $kind (list "server" "standby") }}
    - name: state # a cache: versions and followed shards are fetched again
      emptyDir: {}
    {{- else if $.Values.persistence.existingClaim }}
    - name: state
      persistentVolumeClaim: { claimName: {{ $.Values.persistence.existingClaim }} }
    {{- end }}
    - name: config
      configMap: { name: {{ include "thalweg.configMap" $ }} }
    {{- with $.Values.tokens.existingSecret }}
    - name: tokens
      secret: { secretName: {{ . }}, defaultMode: 0440 }
    {{- end }}
    {{- with $.Values.tls.existingSecret }}
    - name: tls
      secret: { secretName: {{ . }}, defaultMode: 0440 }
    {{- end }}
    {{- with $.Values.secretFiles.existingSecret }}
    - name: secrets
      secret: { secretName: {{ . }}, defaultMode: 0440 }
    {{- end }}
    {{- with $.Values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $.Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $kind }}
  topologySpreadConstraints:
    {{- with $.Values.topologySpreadConstraints }}
    {{- range . }}
    - {{- mergeOverwrite (dict "labelSelector" (dict "matchLabels" (include "thalweg.kind" (list $ $kind) | fromYaml))) . | toYaml | nindent 6 }}
    {{- end }}
    {{- else }}
    {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - topologyKey: {{ $key }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "thalweg.kind" (list $ $kind) | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- end }}
  {{- with $.Values.podSpec }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
