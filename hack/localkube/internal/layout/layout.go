// Package layout names every path, address and port of the one-node cluster.
//
// It is the only place where such a name is spelt out; it does no work and
// knows nothing of how the parts are configured or started.
package layout

import (
	"fmt"
	"os"
	"path/filepath"
)

// What the cluster is called and where it lives on the network. The node
// address sits on a link of its own that leads nowhere, so neither the node
// nor its services can be reached from, or reach, another machine.
const (
	NodeName    = "localkube"
	NodeIP      = "172.31.255.1"
	NodeLink    = "lk0"
	PodBridge   = "lkbr0"
	PodCIDR     = "10.244.0.0/24"
	ServiceCIDR = "10.96.0.0/16"
	APIService  = "10.96.0.1"
	DNSService  = "10.96.0.10"
	NFTTable    = "localkube"
	CNINetwork  = "localkube"
	PauseImage  = "localhost/pause:1"

	// ContainerdNamespace is where the kubelet's runtime interface keeps everything.
	ContainerdNamespace = "k8s.io"
	// DevicePlugins is fixed in the kubelet, whatever its root folder is.
	DevicePlugins = "/var/lib/kubelet/device-plugins"
	// ContainerLogs is where the kubelet puts links to logs; fixed as well.
	ContainerLogs = "/var/log/containers"
	// CNIResults is where the CNI library caches results; fixed as well.
	CNIResults = "/var/lib/cni/results"
	// ShimSockets is where containerd's shims listen; fixed as well.
	ShimSockets = "/run/containerd/s"
)

// APIServer is the address every client of the cluster uses.
const APIServer = "https://" + NodeIP + ":6443"

// EnvState and EnvPart mark each process of a cluster: they are set for every
// part and inherited by what the parts start, so that the cluster's processes
// can be told from all others without trusting a recorded process number.
const (
	EnvState = "LOCALKUBE_STATE"
	EnvPart  = "LOCALKUBE_PART"
)

// maxRoot keeps the longest socket path below the kernel's limit of 107 bytes.
const maxRoot = 64

// State is the folder that holds everything of one cluster.
type State struct{ Root string }

// FromEnvironment gives the state folder chosen by LOCALKUBE_STATE.
func FromEnvironment() (State, error) {
	root := os.Getenv(EnvState)
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return State{}, fmt.Errorf("set %s: %w", EnvState, err)
		}
		root = filepath.Join(home, ".cache", "sd-operator", "localkube-state")
	}
	return NewState(root)
}

// NewState checks that a folder can hold a cluster's state.
func NewState(root string) (State, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return State{}, err
	}
	if abs == "/" {
		return State{}, fmt.Errorf("%s=%q: the state needs a folder of its own", EnvState, root)
	}
	if len(abs) > maxRoot {
		return State{}, fmt.Errorf("%s=%q: the path has %d characters, at most %d are possible (socket paths are short)",
			EnvState, abs, len(abs), maxRoot)
	}
	return State{Root: abs}, nil
}

func (s State) path(elem ...string) string {
	return filepath.Join(append([]string{s.Root}, elem...)...)
}

// The folders and files of a state folder.
func (s State) Run() string               { return s.path("run") }
func (s State) Logs() string              { return s.path("logs") }
func (s State) Log(part string) string    { return s.path("logs", part+".log") }
func (s State) Etc(elem ...string) string { return s.path(append([]string{"etc"}, elem...)...) }
func (s State) PKI(elem ...string) string { return s.path(append([]string{"pki"}, elem...)...) }
func (s State) Kubeconfig() string        { return s.path("admin.kubeconfig") }
func (s State) Etcd() string              { return s.path("etcd") }
func (s State) Containerd() string        { return s.path("containerd") }
func (s State) Kubelet() string           { return s.path("kubelet") }
func (s State) KubeletPKI() string        { return s.path("kubelet-pki") }
func (s State) KubeletPlugins() string    { return s.path("kubelet-plugins") }
func (s State) PodLogs() string           { return s.path("pod-logs") }
func (s State) Volumes() string           { return s.path("pv") }
func (s State) Lock() string              { return s.path("lock") }
func (s State) Before() string            { return s.path("before.json") }
func (s State) GPUs() string              { return s.path("gpus") }
func (s State) ContainerdSocket() string  { return s.path("run", "containerd.sock") }
func (s State) ContainerdState() string   { return s.path("run", "containerd") }
func (s State) RuncRoot() string          { return s.path("run", "runc") }
func (s State) CNIData() string           { return s.path("run", "cni") }
