package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"localkube/internal/config"
	"localkube/internal/host"
	"localkube/internal/layout"
	"localkube/internal/process"
)

const (
	minFree       = 10 << 30
	overlayFS     = 0x794c7630
	debianInstall = "apt-get update && apt-get install -y --no-install-recommends"
)

// needed are the programs that the parts call, and the Debian packages that
// hold them.
var needed = []struct{ program, pkg string }{
	{"runc", "runc"}, {"ip", "iproute2"}, {"nft", "nftables"}, {"iptables", "iptables"},
	{"iptables-save", "iptables"}, {"iptables-restore", "iptables"}, {"conntrack", "conntrack"},
	{"mount", "mount"}, {"umount", "mount"},
}

// cniFolders are where distributions put the CNI plugins.
var cniFolders = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

var cniNeeded = []string{"bridge", "host-local", "loopback", "portmap"}

const cniPackage = "containernetworking-plugins"

// tools are what the parts need from the machine.
type tools struct{ runc, cni string }

// preflight says, all at once, what stands in the way.
func preflight(state layout.State, parts []config.Part, running map[string]process.Process, fresh bool) error {
	if fresh {
		if err := otherLocalkube(state); err != nil {
			return err // and all that it uses would only be said again below
		}
	}
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	if free, kind, err := fileSystem(state.Root); err != nil {
		add("%v", err)
	} else {
		if free < minFree {
			add("%s: %.1f GiB free, at least %d GiB are needed; choose another place with %s",
				state.Root, float64(free)/(1<<30), minFree>>30, layout.EnvState)
		}
		if kind == overlayFS {
			add("%s lies on an overlay file system, on which containers cannot have theirs; choose a place on a disk with %s",
				state.Root, layout.EnvState)
		}
	}
	problems = append(problems, portProblems(parts, running)...)
	if fresh {
		problems = append(problems, otherClusters()...)
	}
	return join(problems)
}

// portProblems names the ports that parts yet to start would not get.
func portProblems(parts []config.Part, running map[string]process.Process) []string {
	var problems []string
	for _, p := range parts {
		if _, up := running[p.Name]; up {
			continue
		}
		for _, e := range p.Listens {
			if who := host.PortUser(e.Network, e.Address, e.Port); who != "" {
				problems = append(problems, fmt.Sprintf("%s port %d, which %s needs on %s, is in use by %s", e.Network, e.Port, p.Name, e.Address, who))
			}
		}
	}
	return problems
}

// findTools looks for the programs and CNI plugins.
func findTools() (tools, error) {
	var problems, packages []string
	want := func(pkg string) {
		if !strings.Contains(" "+strings.Join(packages, " ")+" ", " "+pkg+" ") {
			packages = append(packages, pkg)
		}
	}
	var t tools
	for _, n := range needed {
		path, err := exec.LookPath(n.program)
		if err != nil {
			problems = append(problems, "program missing: "+n.program)
			want(n.pkg)
		}
		if n.program == "runc" {
			t.runc = path
		}
	}
	for _, dir := range cniFolders {
		if t.cni == "" && hasAll(dir, cniNeeded) {
			t.cni = dir
		}
	}
	if t.cni == "" {
		problems = append(problems, fmt.Sprintf("CNI plugins missing: %s in none of %s",
			strings.Join(cniNeeded, ", "), strings.Join(cniFolders, ", ")))
		want(cniPackage)
	}
	if len(packages) > 0 {
		problems = append(problems, "on Debian and Ubuntu: "+debianInstall+" "+strings.Join(packages, " "))
	}
	return t, join(problems)
}

func hasAll(dir string, names []string) bool {
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(dir, n)); err != nil {
			return false
		}
	}
	return true
}

// otherLocalkube is an error while a localkube with another state folder runs.
func otherLocalkube(state layout.State) error {
	others, err := process.ListOthers(state)
	if err != nil {
		return err
	}
	for _, p := range others {
		if p.IsPart() {
			return fmt.Errorf("another localkube runs (%s is process %d); stop it first: %s=%s localkube down", p.Part, p.PID, layout.EnvState, p.Root)
		}
	}
	return nil
}

// otherClusters finds what another Kubernetes on this machine would quarrel
// about. Only asked while nothing on the machine is this cluster's.
func otherClusters() []string {
	var problems []string
	if links := host.LinksExist(); len(links) > 0 {
		problems = append(problems, fmt.Sprintf("network link %s exists: left by another localkube whose state folder is gone? Remove with: ip link del %s",
			strings.Join(links, ", "), strings.Join(links, "; ip link del ")))
	}
	if chains := host.KubeChains(); len(chains) > 0 {
		problems = append(problems, fmt.Sprintf("another Kubernetes has, or has left, %d firewall chains (the first: %s): stop it, and clear them with `kube-proxy --cleanup` or a restart",
			len(chains), chains[0]))
	}
	if pids, err := host.PodProcesses(); err == nil && len(pids) > 0 {
		problems = append(problems, fmt.Sprintf("another kubelet's pods run here (process %d and %d more)", pids[0], len(pids)-1))
	}
	return problems
}

// fileSystem says what a folder, or the nearest above it, lies on.
func fileSystem(dir string) (free uint64, kind int64, err error) {
	var st unix.Statfs_t
	for {
		err = unix.Statfs(dir, &st)
		if !errors.Is(err, unix.ENOENT) {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), st.Type, nil
}

// requireRoot is said first, because all else needs it.
func requireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("must run as root: containers, network and mounts need it (try sudo)")
	}
	return nil
}

func join(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(problems, "\n"))
}
