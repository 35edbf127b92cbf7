{{- /* Build metadata, as Flux adds it to the version of a chart from OCI, has a "+", which no label may have. */ -}}
{{- define "sd-instance.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: sd-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end }}

{{- define "sd-instance.name" -}}
{{- $name := .Values.name | default .Release.Name -}}
{{- /* The API server says the same of the SDInstance, but only once everything else of the release is there. */ -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$" $name) -}}
{{- fail (printf "%s is %q, which no SDInstance can be called: at most 63 lower-case letters, digits and dashes, beginning with a letter and ending with a letter or digit. Set name, or choose another release name." (ternary "name" "the release name" (ne .Values.name "")) $name) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{- define "sd-instance.secret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "sd-instance.name" .)) -}}
{{- end }}

{{- /* The API server says the same of pods that need one volume at the same time, but only once everything else of the
       release is there. */ -}}
{{- define "sd-instance.refuseSharing" -}}
{{- if not (has "ReadWriteMany" .Values.outputs.accessModes) -}}
{{- if and (not .Values.autoscaling.enabled) (gt (int .Values.replicas) 1) -}}
{{- fail "replicas above 1 with outputs.size need outputs.accessModes [ReadWriteMany]: the pods may be on different nodes" -}}
{{- end -}}
{{- if eq .Values.rollout.strategy "Surge" -}}
{{- fail "rollout.strategy Surge with outputs.size needs outputs.accessModes [ReadWriteMany]: the old and the new pod mount the volume at the same time; use Drain or Recreate" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* An image's reference from its parts, a list of the root and the parts. */ -}}
{{- define "sd-instance.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 -}}
{{- with $root.Values.global.imageRegistry | default $image.registry | trimSuffix "/" }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* The bundles of the instance as JSON: `bundles`, in order, with the names of their files where they are known; and
       `checkpoint`, the bundle that it is in. What contradicts itself is refused here, by the names of the values. */ -}}
{{- define "sd-instance.models" -}}
{{- $own := include "sd-instance.name" . -}}
{{- $names := list }}{{ $files := dict -}}
{{- range $index, $model := .Values.models -}}
{{- $name := $model.name | default $own -}}
{{- if has $name $names -}}
{{- fail (printf "models[%d].name: there is a bundle %q already; each of models needs a name of its own, and one of them may be empty" $index $name) -}}
{{- end -}}
{{- $names = append $names $name -}}
{{- $known := list -}}
{{- range $model.spec.files }}{{ $known = append $known .name }}{{ end -}}
{{- $_ := set $files $name $known -}}
{{- end -}}
{{- range $index, $name := .Values.existingModels -}}
{{- if has $name $names -}}
{{- fail (printf "existingModels[%d]: %q is named twice, or is one of models" $index $name) -}}
{{- end -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- if not $names -}}
{{- fail "models and existingModels are both empty: an SDInstance needs a ModelBundle with its checkpoint" -}}
{{- end -}}
{{- if gt (len $names) 16 -}}
{{- fail (printf "models and existingModels are %d bundles: an SDInstance takes at most 16" (len $names)) -}}
{{- end -}}
{{- $checkpoint := .Values.checkpoint.bundle | default (first $names) -}}
{{- if not (has $checkpoint $names) -}}
{{- fail (printf "checkpoint.bundle: there is no bundle %q; models and existingModels have %s" $checkpoint (join ", " $names)) -}}
{{- end -}}
{{- if and (hasKey $files $checkpoint) (not (has .Values.checkpoint.file (get $files $checkpoint))) -}}
{{- fail (printf "checkpoint.file: the bundle %q has no file %q; it has %s" $checkpoint .Values.checkpoint.file (get $files $checkpoint | join ", ")) -}}
{{- end -}}
{{- dict "names" $names "checkpoint" $checkpoint | toJson -}}
{{- end }}
