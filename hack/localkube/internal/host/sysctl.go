package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// sysctls are the kernel settings that the parts need or would set themselves.
var sysctls = []struct{ key, value string }{
	{"net.ipv4.ip_forward", "1"},
	{"net.bridge.bridge-nf-call-iptables", "1"},
	{"net.bridge.bridge-nf-call-ip6tables", "1"},
	{"net.ipv4.conf.all.route_localnet", "1"}, // NodePorts on 127.0.0.1
	{"fs.inotify.max_user_instances", "8192"},
	{"fs.inotify.max_user_watches", "524288"},
	{"vm.overcommit_memory", "1"},
	{"vm.panic_on_oom", "0"},
	{"kernel.panic", "10"},
	{"kernel.panic_on_oops", "1"},
	{"kernel.keys.root_maxkeys", "1000000"},
	{"kernel.keys.root_maxbytes", "25000000"},
}

// sysctlsToSave are those, and those that setting net.ipv4.ip_forward changes
// along with itself.
func sysctlsToSave() []string {
	var keys []string
	for _, s := range sysctls {
		keys = append(keys, s.key)
	}
	for _, name := range []string{"forwarding", "accept_redirects", "route_localnet"} {
		paths, _ := filepath.Glob("/proc/sys/net/ipv4/conf/*/" + name)
		for _, p := range paths {
			// An interface's name may hold a dot: the path form is the safe one.
			keys = append(keys, strings.TrimPrefix(p, "/proc/sys/"))
		}
	}
	return keys
}

func sysctlPath(key string) string {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return "/proc/sys/" + key
}

func readSysctl(key string) (string, error) {
	text, err := os.ReadFile(sysctlPath(key))
	return strings.TrimSpace(string(text)), err
}

// SetSysctls makes the settings; it returns those that the kernel lacks.
func SetSysctls() (missing []string, err error) {
	for _, s := range sysctls {
		err := writeSysctl(s.key, s.value)
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, s.key)
		} else if err != nil {
			return missing, err
		}
	}
	return missing, nil
}

func writeSysctl(key, value string) error {
	now, err := readSysctl(key)
	if err != nil || now == value {
		return err
	}
	return os.WriteFile(sysctlPath(key), []byte(value), 0o644)
}

// RestoreSysctls puts back the settings of Before.
func (b *Before) RestoreSysctls() error {
	var keys []string
	for k := range b.Sysctls {
		keys = append(keys, k)
	}
	// ip_forward, a dotted key, before the per-interface ones (paths) it changes.
	sort.Slice(keys, func(i, j int) bool {
		if a, c := strings.Contains(keys[i], "/"), strings.Contains(keys[j], "/"); a != c {
			return c
		}
		return keys[i] < keys[j]
	})
	var errs []error
	for _, k := range keys {
		if err := writeSysctl(k, b.Sysctls[k]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
