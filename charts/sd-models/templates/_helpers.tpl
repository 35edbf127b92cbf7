{{- /* Build metadata, as Flux adds it to the version of a chart from OCI, has a "+", which no label may have. */ -}}
{{- define "sd-models.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: sd-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end }}

{{- define "sd-models.image" -}}
{{- $image := .Values.test.image -}}
{{- with .Values.global.imageRegistry | default $image.registry | trimSuffix "/" }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* The bundles that are switched on, as JSON: `bundles`, each with its values, what the catalogue says of it, and the
       files that are wanted. What contradicts itself is refused here, by the names of the values. */ -}}
{{- define "sd-models.bundles" -}}
{{- $catalogue := .Files.Get "files/catalogue.yaml" | fromYaml -}}
{{- $bundles := list }}{{ $names := dict -}}
{{- range $key, $values := .Values.bundles -}}
{{- if $values.enabled -}}
{{- $entry := get $catalogue $key -}}
{{- if hasKey $names $values.name -}}
{{- fail (printf "bundles.%s.name: %q is the name of bundles.%s already" $key $values.name (get $names $values.name)) -}}
{{- end -}}
{{- $_ := set $names $values.name $key -}}
{{- $known := list }}{{ $files := list -}}
{{- range $entry.files -}}
{{- $known = append $known .name -}}
{{- if or (not $values.files) (has .name $values.files) }}{{ $files = append $files . }}{{ end -}}
{{- end -}}
{{- range $values.files -}}
{{- if not (has . $known) -}}
{{- fail (printf "bundles.%s.files: there is no %q; there are %s" $key . (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- if and $values.storage.existingClaim $values.storage.storageClassName -}}
{{- fail (printf "bundles.%s.storage: storageClassName has no meaning with existingClaim, which is used as it is" $key) -}}
{{- end -}}
{{- $bundles = append $bundles (dict "key" $key "values" $values "entry" $entry "files" $files) -}}
{{- end -}}
{{- end -}}
{{- dict "bundles" $bundles | toJson -}}
{{- end }}

{{- /* The name of a file below a mirror: that on the volume, or its source's where that is a pickle. */ -}}
{{- define "sd-models.basename" -}}
{{- .fileName | default (base (.huggingFace | default .github).path) -}}
{{- end }}
