{{- define "keeper.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- /* 52 characters leave room for -admin and for what a StatefulSet appends. */ -}}
{{- define "keeper.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "keeper.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "keeper.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "keeper.selector" -}}
app.kubernetes.io/name: {{ include "keeper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "keeper.labels" -}}
{{ include "keeper.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "keeper.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The names under which pods reach keeper, for the certificate. */ -}}
{{- define "keeper.names" -}}
{{- $names := list -}}
{{- range $service := list (include "keeper.fullname" .) (printf "%s-admin" (include "keeper.fullname" .)) -}}
{{- $names = concat $names (list $service (printf "%s.%s" $service $.Release.Namespace) (printf "%s.%s.svc" $service $.Release.Namespace) (printf "%s.%s.svc.cluster.local" $service $.Release.Namespace)) -}}
{{- end -}}
{{- concat $names .Values.tls.names | toJson -}}
{{- end -}}

{{- define "keeper.config" -}}
{{- $tls := dict "ownCA" true "names" (include "keeper.names" . | fromJsonArray) -}}
{{- if .Values.tls.existingSecret -}}
{{- $tls = dict "certFile" "/run/secrets/keeper-tls/tls.crt" "keyFile" "/run/secrets/keeper-tls/tls.key" -}}
{{- end -}}
{{- $config := dict "addr" "0.0.0.0:8700" "adminAddr" "0.0.0.0:8701" "data" "/data/keeper" "tls" $tls "log" (dict "format" "json") -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end -}}
