{{/* The name in labels. */}}
{{- define "strimzi-backup-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all objects: the release's, with the chart's where that is not in it. */}}
{{- define "strimzi-backup-operator.fullname" -}}
{{- $name := include "strimzi-backup-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The labels that choose the pods. They never change. */}}
{{- define "strimzi-backup-operator.selector" -}}
app.kubernetes.io/name: {{ include "strimzi-backup-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels of all objects; helm adds app.kubernetes.io/managed-by itself. */}}
{{- define "strimzi-backup-operator.labels" -}}
{{ include "strimzi-backup-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: strimzi-backup
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whom the operator acts as. */}}
{{- define "strimzi-backup-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "strimzi-backup-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The name of the Lease. */}}
{{- define "strimzi-backup-operator.leaseName" -}}
{{- default (include "strimzi-backup-operator.fullname" .) .Values.leaderElection.leaseName }}
{{- end }}

{{/* An image as a container names it: a dictionary of repository, tag and digest. */}}
{{- define "strimzi-backup-operator.reference" -}}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository .tag }}
{{- end }}
{{- end }}

{{/* The operator's image. */}}
{{- define "strimzi-backup-operator.image" -}}
{{- $image := .Values.image }}
{{- $tag := default .Chart.AppVersion $image.tag }}
{{- include "strimzi-backup-operator.reference" (dict "repository" $image.repository "tag" $tag "digest" $image.digest) }}
{{- end }}

{{/* The image of backups and restores. The operator's digest is of no use where anything else of the image is another's. */}}
{{- define "strimzi-backup-operator.backupImage" -}}
{{- $given := .Values.backupImage }}
{{- $repository := default .Values.image.repository $given.repository }}
{{- $tag := default (default .Chart.AppVersion .Values.image.tag) $given.tag }}
{{- $digest := $given.digest }}
{{- if not (or $given.repository $given.tag $given.digest) }}
{{- $digest = .Values.image.digest }}
{{- end }}
{{- include "strimzi-backup-operator.reference" (dict "repository" $repository "tag" $tag "digest" $digest) }}
{{- end }}

{{/* The subject of all bindings. */}}
{{- define "strimzi-backup-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "strimzi-backup-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
