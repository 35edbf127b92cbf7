{{- /* Build metadata, as Flux adds it to the version of a chart from OCI, has a "+", which no label may have. */ -}}
{{- define "sd-operator.labels" -}}
{{ include "sd-operator.names" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end }}

{{- define "sd-operator.names" -}}
app.kubernetes.io/name: sd-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Of the operator's pod, and of the Service in front of it. */}}
{{- define "sd-operator.selector" -}}
{{ include "sd-operator.names" . }}
app.kubernetes.io/component: operator
{{- end }}

{{/* An image reference: (dict "image" .Values.image "root" .) */}}
{{- define "sd-operator.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry | trimSuffix "/" -}}
{{- with $registry }}{{ . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "sd-operator.keySecret" -}}
{{ .Values.key.existingSecret | default (printf "%s-key" .Release.Name) }}
{{- end }}

{{/* Pod Security `restricted`, the container's half. */}}
{{- define "sd-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Whether a security context asks for more than Pod Security `restricted` lets a pod have: "yes", or nothing.
     (list podSecurityContext "the version of Kubernetes"). The lists are those of pod-security-admission; what is in
     them depends on the version. */}}
{{- define "sd-operator.laxer" -}}
{{- $pod := index . 0 }}
{{- $confined := list "RuntimeDefault" "Localhost" }}
{{- $types := list "" "container_t" "container_init_t" "container_kvm_t" "container_engine_t" }}
{{- $sysctls := list "kernel.shm_rmid_forced" }}
{{- range splitList " " "ip_local_port_range ip_local_reserved_ports ip_unprivileged_port_start ping_group_range tcp_fin_timeout tcp_keepalive_intvl tcp_keepalive_probes tcp_keepalive_time tcp_rmem tcp_syncookies tcp_wmem" }}
{{- $sysctls = append $sysctls (printf "net.ipv4.%s" .) }}
{{- end }}
{{- if semverCompare ">=1.37.0-0" (index . 1) }}
{{- $sysctls = concat $sysctls (list "net.ipv4.tcp_notsent_lowat" "net.ipv4.tcp_slow_start_after_idle") }}
{{- end }}
{{- $lax := or (not $pod.runAsNonRoot) (eq (toString $pod.runAsUser) "0") (dig "windowsOptions" "hostProcess" false $pod) }}
{{- $profiles := list (dig "seccompProfile" "type" "" $pod) (dig "appArmorProfile" "type" "RuntimeDefault" $pod) }}
{{- range $profiles }}{{ $lax = or $lax (not (has . $confined)) }}{{ end }}
{{- with $pod.seLinuxOptions }}{{ $lax = or $lax .user .role (not (has (.type | default "") $types)) }}{{ end }}
{{- range $pod.sysctls }}{{ $lax = or $lax (not (has .name $sysctls)) }}{{ end }}
{{- if $lax }}yes{{ end }}
{{- end }}

{{/* Networks as the operator is told them: (list "the value's name" networks). It would end at one that is none, when
     the operator before it has ended already. */}}
{{- define "sd-operator.networks" -}}
{{- $of := index . 0 }}
{{- $byte := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" }}
{{- $groups := "[0-9A-Fa-f]{1,4}(:[0-9A-Fa-f]{1,4})" }}
{{- range $index, $network := index . 1 }}
{{- $address := splitList "/" $network | first }}
{{- $good := false }}
{{- $digits := "" }}
{{- /* IPv6 may end in the digits of an IPv4 address, which stand for two groups. */}}
{{- with regexFind (printf ":(%s[.]){3}%s$" $byte $byte) $address }}
{{- $bytes := splitList "." (trimPrefix ":" .) }}
{{- $hex := printf ":%02x%02x:%02x%02x" (index $bytes 0 | int) (index $bytes 1 | int) (index $bytes 2 | int) (index $bytes 3 | int) }}
{{- $address = printf "%s%s" (trimSuffix . $address) $hex }}
{{- end }}
{{- if regexMatch (printf "^(%s[.]){3}%s$" $byte $byte) $address }}
{{- range splitList "." $address }}{{ $digits = printf "%s%02x" $digits (int .) }}{{ end }}
{{- else if or (regexMatch (printf "^%s{7}$" $groups) $address) (regexMatch (printf "^(%s{0,6})?::(%s{0,6})?$" $groups $groups) $address) }}
{{- /* Each group has four digits, and "::" stands for the groups that are missing. */}}
{{- $missing := sub 8 (len (regexFindAll "[0-9A-Fa-f]+" $address -1)) | int }}
{{- range $part, $words := splitList "::" $address }}
{{- if $part }}{{ $digits = print $digits (repeat (mul 4 (max 0 $missing) | int) "0") }}{{ end }}
{{- range regexFindAll "[0-9A-Fa-f]+" $words -1 }}{{ $digits = print $digits (printf "000%s" . | trunc -4) }}{{ end }}
{{- end }}
{{- if and (contains "::" $address) (lt $missing 1) }}{{ $digits = "" }}{{ end }}
{{- end }}
{{- $bits := mul 4 (len $digits) | int }}
{{- $prefix := contains "/" $network | ternary (splitList "/" $network | last | int) $bits }}
{{- if and $digits (le $prefix $bits) }}
{{- $edge := index (list "" "[08]" "[048Cc]" "[02468ACEace]") (mod $prefix 4 | int) }}
{{- $good = regexMatch (printf "^.{%d}%s0*$" (div $prefix 4 | int) $edge) $digits }}
{{- end }}
{{- if not $good }}
{{- fail (printf "%s[%d]: %q is no network: an address, or a CIDR such as 10.0.0.0/8 or fd00::/8, is wanted, with no bit set beyond its prefix" $of $index $network) }}
{{- end }}
{{- end }}
{{- join "," (index . 1) }}
{{- end }}

{{/* Every setting of the operator that a value sets, in the order of sd_operator/settings.py. */}}
{{- define "sd-operator.env" -}}
- {name: SDO_WATCH_NAMESPACE, value: {{ .Values.watchNamespace | quote }}}
- name: SDO_CATALOG_NAMESPACE
  valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}
- {name: SDO_OPERATOR_IMAGE, value: {{ include "sd-operator.image" (dict "image" .Values.image "root" .) | quote }}}
- {name: SDO_RUNTIME_IMAGE, value: {{ include "sd-operator.image" (dict "image" .Values.runtimeImage "root" .) | quote }}}
- {name: SDO_IMAGE_PULL_POLICY, value: {{ .Values.podImagePullPolicy }}}
{{- $secrets := list }}
{{- range .Values.global.imagePullSecrets }}{{ $secrets = append $secrets .name }}{{ end }}
- {name: SDO_IMAGE_PULL_SECRETS, value: {{ join "," $secrets | quote }}}
{{- $labels := list }}
{{- range $key, $value := .Values.serviceMonitor.labels }}{{ $labels = append $labels (printf "%s=%s" $key $value) }}{{ end }}
- {name: SDO_SERVICE_MONITOR_LABELS, value: {{ join "," $labels | quote }}}
- name: SDO_NAMESPACE
  valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}
- {name: SDO_KEY_SECRET, value: {{ include "sd-operator.keySecret" . | quote }}}
- {name: SDO_HF_ENDPOINT, value: {{ .Values.huggingFaceEndpoint | quote }}}
- {name: SDO_CIVITAI_ENDPOINT, value: {{ .Values.civitaiEndpoint | quote }}}
- {name: SDO_FETCH_ALLOWED_NETWORKS, value: {{ include "sd-operator.networks" (list "fetch.allowedNetworks" .Values.fetch.allowedNetworks) | quote }}}
- {name: SDO_FETCH_REFUSED_NETWORKS, value: {{ include "sd-operator.networks" (list "fetch.refusedNetworks" .Values.fetch.refusedNetworks) | quote }}}
- {name: SDO_LOG_LEVEL, value: {{ .Values.logLevel }}}
- {name: SDO_METRICS_PORT, value: "9090"}
- {name: SDO_GPU_PROFILES, value: {{ .Values.gpu.profiles | toJson | quote }}}
- {name: SDO_GPU_HEADROOM, value: {{ .Values.gpu.headroom | quote }}}
- {name: SDO_GPU_FAMILY_MEMORY, value: {{ .Values.gpu.familyMemory | toJson | quote }}}
{{- end }}
