// Package host is what the cluster changes on the machine itself: links,
// routes, firewall rules, kernel settings, mounts, cgroups and a few folders
// outside the state folder - and how each is put back.
//
// It knows nothing of Kubernetes. What it takes away again it recognises by
// name or path, and, where that is not enough, by what Before wrote down.
package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Before is what the machine was like before the cluster changed it.
type Before struct {
	Boot         string            `json:"boot"`         // which start of the machine this describes
	Sysctls      map[string]string `json:"sysctls"`      // key -> value
	SharedMounts []Mount           `json:"sharedMounts"` // mounts that were shared
	Tables       []string          `json:"tables"`       // nftables tables, "ip nat"
	Chains       []string          `json:"chains"`       // chains that look like ours but are not
	Folders      []string          `json:"folders"`      // of SharedFolders, those that were there
}

// SharedFolders are folders (and iptables's lock) outside the state folder that
// parts make because their place is fixed. They go again when they were not
// there before and are empty.
var SharedFolders = []string{
	"/var/lib/kubelet", "/var/lib/kubelet/device-plugins", "/var/log/containers", "/var/log/pods",
	"/var/lib/cni", "/var/lib/cni/results", "/run/containerd", "/run/containerd/s", "/run/containerd/fifo",
	"/run/containerd/runc", "/run/containerd/runc/k8s.io", "/run/netns", "/etc/cni", "/etc/cni/net.d",
	"/opt/cni", "/opt/cni/bin", "/etc/nri", "/opt/nri", "/usr/libexec/kubernetes", "/run/xtables.lock",
	"/opt/containerd", "/opt/containerd/bin", "/opt/containerd/lib", "/run/calico",
}

// Capture describes the machine as it is.
func Capture() (*Before, error) {
	b := &Before{Sysctls: map[string]string{}}
	var err error
	if b.Boot, err = bootID(); err != nil {
		return nil, err
	}
	for _, key := range sysctlsToSave() {
		if v, err := readSysctl(key); err == nil {
			b.Sysctls[key] = v
		}
	}
	mounts, err := Mounts()
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if m.Shared {
			b.SharedMounts = append(b.SharedMounts, m)
		}
	}
	if b.Tables, err = tables(); err != nil {
		return nil, err
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		// Fails where the kernel has no IPv6; then there is nothing to describe.
		save, _ := exec.Command(family + "-save").Output()
		b.Chains = append(b.Chains, OwnChains(string(save), nil)...)
	}
	for _, f := range SharedFolders {
		if _, err := os.Stat(f); err == nil {
			b.Folders = append(b.Folders, f)
		}
	}
	return b, nil
}

// LoadBefore reads what Save wrote; nil when there is nothing.
func LoadBefore(path string) (*Before, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	b := &Before{}
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// Save writes the description whole or not at all.
func (b *Before) Save(path string) error {
	text, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// SameBoot says whether the machine has not been restarted since; a restart
// undoes all but folders by itself.
func (b *Before) SameBoot() bool {
	now, err := bootID()
	return err == nil && now == b.Boot
}

func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// RemoveSharedFolders removes those of SharedFolders that the cluster's parts
// made, as far as they are empty.
func (b *Before) RemoveSharedFolders() {
	was := map[string]bool{}
	for _, f := range b.Folders {
		was[f] = true
	}
	for i := len(SharedFolders) - 1; i >= 0; i-- {
		if f := SharedFolders[i]; !was[f] {
			os.Remove(f) //nolint:errcheck // not empty: somebody else's by now
		}
	}
}

// RemoveLinksInto removes the symbolic links in dir that lead into a folder.
func RemoveLinksInto(dir, target string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, target+"/") {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// run calls a program; its complaint becomes the error.
func run(stdin string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
