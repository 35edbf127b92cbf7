{{/* What the schema cannot refuse, and the operator, or the API server, would: with the old operator ended already. */}}
{{- define "sd-operator.refusals" -}}
{{- $refused := printf "the release name is %q: a Service called %s-metrics must" .Release.Name .Release.Name }}
{{- if contains "." .Release.Name }}
{{- fail (printf "%s have only a-z, 0-9 and -. Choose another release name." $refused) }}
{{- else if and (regexMatch "^[0-9]" .Release.Name) (semverCompare "<1.36.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail (printf "%s begin with a letter before Kubernetes 1.36, and this is %s. Choose another release name." $refused .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- $names := list }}
{{- range $index, $profile := .Values.gpu.profiles }}
{{- if has .name $names }}{{ fail (printf "gpu.profiles[%d].name: %q is used by another profile" $index .name) }}{{ end }}
{{- $names = append $names .name }}
{{- end }}
{{- $own := list }}
{{- range include "sd-operator.env" . | fromYamlArray }}{{ $own = append $own .name }}{{ end }}
{{- range .Values.extraEnv }}
{{- /* The operator reads its settings in any spelling. */}}
{{- $setting := upper .name }}
{{- if has $setting $own }}{{ fail (printf "extraEnv: %s is set by another value of this chart" .name) }}{{ end }}
{{- if eq $setting "SDO_KEY_FILE" }}{{ fail (printf "extraEnv: %s cannot be beside SDO_KEY_SECRET, which this chart sets: give key.existingSecret" .name) }}{{ end }}
{{- if not .valueFrom }}
{{- include "sd-operator.setting" (list $setting .name (.value | default "")) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A setting of extraEnv by the operator's own measure: (list SETTING "its name as given" "its value"). What a valueFrom
     brings is known only in the cluster, and so is what the kubelet puts in place of $(NAME), unless the $ is doubled. */}}
{{- define "sd-operator.setting" -}}
{{- $seconds := dict "form" "^[1-9][0-9]*([.][0-9]+)?$" "words" "seconds, 1 or more, are wanted" }}
{{- $workers := dict "form" "^([1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-6])$" "words" "a whole number from 1 to 256 is wanted" }}
{{- $rules := dict "SDO_WORKERS" $workers "SDO_RECHECK_SECONDS" $seconds "SDO_AUDIT_SECONDS" $seconds }}
{{- $value := index . 2 }}
{{- $elsewhere := regexMatch "(^|[^$])([$]{2})*[$][(][^)]+[)]" $value }}
{{- with get $rules (index . 0) }}
{{- if not (or $elsewhere (regexMatch .form $value)) }}{{ fail (printf "extraEnv: %s is %q: %s" (index $ 1) $value .words) }}{{ end }}
{{- end }}
{{- end }}
