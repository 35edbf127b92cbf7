// Package config says how the parts of the cluster are configured: the files
// they read (files/, filled in from one Settings value) and their command
// lines. It is pure: writing happens in Write only, nothing is started.
package config

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"localkube/internal/layout"
)

//go:embed files
var files embed.FS

// Settings is what a configuration depends on.
type Settings struct {
	layout.State
	Runc         string // path of runc
	CNIPlugins   string // folder of the CNI plugins
	MaxOpenFiles uint64 // hard limit of open files that the parts inherit
	GPUs         int    // fake GPUs to offer
}

// The templates may name these too.
func (Settings) NodeName() string   { return layout.NodeName }
func (Settings) NodeIP() string     { return layout.NodeIP }
func (Settings) PodBridge() string  { return layout.PodBridge }
func (Settings) PodCIDR() string    { return layout.PodCIDR }
func (Settings) DNSService() string { return layout.DNSService }
func (Settings) PauseImage() string { return layout.PauseImage }
func (Settings) CNINetwork() string { return layout.CNINetwork }

// Render fills in one of the files.
func Render(name string, s Settings) ([]byte, error) {
	text, err := files.ReadFile("files/" + name)
	if err != nil {
		return nil, err
	}
	t, err := template.New(name).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out.Bytes(), nil
}

// Write puts the files that parts read where their command lines expect them.
// It names the parts whose file is another than before, and leaves the others
// untouched: kube-proxy ends as soon as anybody writes to its file.
func Write(s Settings) (changed []string, err error) {
	for _, f := range []struct{ name, path, part string }{
		{"containerd.toml", s.Etc("containerd.toml"), Containerd},
		{"kubelet.yaml", s.Etc("kubelet.yaml"), Kubelet},
		{"proxy.yaml", s.Etc("proxy.yaml"), Proxy},
		{"Corefile", s.Etc("Corefile"), CoreDNS},
		{"resolv.conf", s.Etc("resolv.conf"), Kubelet},
		{"10-localkube.conflist", s.Etc("cni", "10-localkube.conflist"), Containerd},
	} {
		text, err := Render(f.name, s)
		if err != nil {
			return nil, err
		}
		if old, err := os.ReadFile(f.path); err == nil && bytes.Equal(old, text) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(f.path, text, 0o644); err != nil {
			return nil, err
		}
		changed = append(changed, f.part)
	}
	return changed, nil
}

// SystemObjects are the Kubernetes objects every cluster starts with.
func SystemObjects(s Settings) ([]byte, error) { return Render("system.yaml", s) }
