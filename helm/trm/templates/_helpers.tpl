{{/* The labels of every object. Selectors are never made of them: they hold versions. */}}
{{- define "trm.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: trm
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: trm
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Metadata of an object. Takes root, name, and perhaps namespace, clusterWide, labels, annotations. */}}
{{- define "trm.metadata" -}}
{{- $labels := merge (include "trm.labels" .root | fromYaml) (.labels | default dict) .root.Values.commonLabels -}}
{{- $annotations := merge (dict) (.annotations | default dict) .root.Values.commonAnnotations -}}
name: {{ .name }}
{{- if not .clusterWide }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Name of an image. Takes root and image. */}}
{{- define "trm.image" -}}
{{- $registry := .image.registry | default .root.Values.global.imageRegistry | trimSuffix "/" -}}
{{- $name := ternary (printf "%s/%s" $registry .image.repository) .image.repository (ne $registry "") -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* Names of the pull secrets, as a JSON list. */}}
{{- define "trm.pullSecretNames" -}}
{{- $names := list -}}
{{- range .Values.global.imagePullSecrets -}}
{{- if kindIs "string" . -}}{{- $names = append $names . -}}{{- else -}}{{- $names = append $names .name -}}{{- end -}}
{{- end -}}
{{- $names | toJson -}}
{{- end }}

{{/* Pull secrets, as pods and service accounts have them. */}}
{{- define "trm.pullSecrets" -}}
{{- $secrets := list -}}
{{- range include "trm.pullSecretNames" . | fromJsonArray -}}
{{- $secrets = append $secrets (dict "name" .) -}}
{{- end -}}
{{- with $secrets -}}{{- toYaml . -}}{{- end -}}
{{- end }}

{{/* Labels of the pods of runs (trmkit/render/names.py). */}}
{{- define "trm.trainerSelector" -}}
app.kubernetes.io/name: trm
app.kubernetes.io/component: trainer
{{- end }}

{{/* Labels of the controller's pods. */}}
{{- define "trm.controllerSelector" -}}
app.kubernetes.io/name: trm
app.kubernetes.io/component: controller
{{- end }}

{{/* Variables of a container that reaches the store: its credentials, and its address where no trm-defaults has it. */}}
{{- define "trm.storeEnvironment" -}}
{{- $plain := dict -}}
{{- if not .Values.defaults.enabled -}}
{{- $storage := include "trm.storage" . | fromYaml -}}
{{- range $key, $name := dict "remote" "TRM_STORE" "endpoint_url" "AWS_ENDPOINT_URL_S3" "region" "AWS_REGION" -}}
{{- with get $storage $key }}{{ $_ := set $plain $name . }}{{ end -}}
{{- end -}}
{{- end -}}
- {name: HOME, value: /tmp}
{{- range $name, $value := $plain }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- with include "trm.storageSecret" . }}
{{- $secret := . }}
{{- range ($.Files.Get "files/credentials.yaml" | fromYaml).keys }}
{{- if not (hasKey $plain .name) }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ .name }}{{ if .optional }}, optional: true{{ end }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Name of the LocalQueue that runs take; empty: none. */}}
{{- define "trm.queue" -}}
{{- .Values.defaults.queue | default (ternary .Values.kueue.localQueue "" .Values.kueue.enabled) -}}
{{- end }}

{{/* The store of runs that name none, as the `storage` section of a run file. */}}
{{- define "trm.storage" -}}
{{- $store := .Values.store -}}
{{- $given := dict "remote" $store.remote "endpoint_url" $store.endpointUrl "region" $store.region "addressing" $store.addressing -}}
{{- if and .Values.devStore.enabled (not $store.remote) -}}
{{- $given = dict "remote" (printf "s3://%s/runs" .Values.devStore.bucket) "endpoint_url" (include "trm.devStore.url" .) "region" "us-east-1" "addressing" "path" -}}
{{- end -}}
{{- $said := dict -}}
{{- range $key, $value := $given -}}
{{- if $value -}}{{- $_ := set $said $key $value -}}{{- end -}}
{{- end -}}
{{- toYaml $said -}}
{{- end }}

{{/* Name of the Secret with the store's credentials; empty: a cloud role. */}}
{{- define "trm.storageSecret" -}}
{{- if and .Values.devStore.enabled (not .Values.store.remote) -}}
{{- include "trm.devStore.secret" . -}}
{{- else -}}
{{- .Values.store.existingSecret -}}
{{- end -}}
{{- end }}

{{- define "trm.devStore.url" -}}
{{- printf "http://trm-dev-store.%s.svc:8333" .Release.Namespace -}}
{{- end }}

{{- define "trm.devStore.secret" -}}
{{- .Values.devStore.existingSecret | default "trm-dev-store" -}}
{{- end }}
