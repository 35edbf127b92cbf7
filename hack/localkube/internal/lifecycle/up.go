package lifecycle

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"

	"localkube/internal/config"
	"localkube/internal/host"
	"localkube/internal/layout"
	"localkube/internal/pki"
	"localkube/internal/process"
)

const defaultGPUs = 4

// Options of `up`.
type Options struct {
	GPUs int // fake GPUs; negative: as before
}

// cluster is one `up` at work.
type cluster struct {
	state    layout.State
	say      *Progress
	exe      string
	settings config.Settings
	changed  []string                    // parts whose files changed
	running  map[string]process.Process  // parts that ran before
	started  map[string]*process.Started // parts that this call started
	client   *kubernetes.Clientset
}

// Up starts what does not run, and returns once the cluster is of use.
func Up(ctx context.Context, state layout.State, opts Options, say *Progress) error {
	if err := requireRoot(); err != nil {
		return err
	}
	found, err := findTools()
	if err != nil {
		return err
	}
	l, err := acquire(ctx, state, "up", say)
	if err != nil {
		return err
	}
	defer l.release()

	c := &cluster{state: state, say: say, started: map[string]*process.Started{}}
	if c.exe, err = os.Executable(); err != nil {
		return err
	}
	if c.settings, err = settings(state, found, opts); err != nil {
		return err
	}
	if c.running, err = runningParts(state); err != nil {
		return err
	}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	if err := c.startParts(ctx); err != nil {
		return fmt.Errorf("%w\nThe parts' logs are in %s; `localkube down` removes what was started", err, state.Logs())
	}
	say.Done("the cluster is up: eval \"$(localkube env)\"; kubectl get nodes")
	return nil
}

func settings(state layout.State, found tools, opts Options) (config.Settings, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return config.Settings{}, err
	}
	s := config.Settings{State: state, Runc: found.runc, CNIPlugins: found.cni, MaxOpenFiles: min(limit.Max, 1<<20), GPUs: opts.GPUs}
	if s.GPUs >= 0 {
		return s, nil
	}
	s.GPUs = defaultGPUs
	if text, err := os.ReadFile(state.GPUs()); err == nil {
		if s.GPUs, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return s, fmt.Errorf("%s: %w", state.GPUs(), err)
		}
	}
	return s, nil
}

// runningParts finds the parts that run, whoever started them.
func runningParts(state layout.State) (map[string]process.Process, error) {
	all, err := process.List(state)
	if err != nil {
		return nil, err
	}
	found := map[string]process.Process{}
	for _, p := range all {
		if p.IsPart() {
			found[p.Part] = p
		}
	}
	return found, nil
}

// prepare makes the machine and the state folder ready for the parts.
func (c *cluster) prepare(ctx context.Context) error {
	before, err := host.LoadBefore(c.state.Before())
	if err != nil {
		return err
	}
	fresh := before == nil || !before.SameBoot()
	parts := config.Parts(c.settings)
	if err := preflight(c.state, parts, c.running, fresh); err != nil {
		return err
	}
	if fresh {
		if before, err = host.Capture(); err != nil {
			return err
		}
		if err := before.Save(c.state.Before()); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, dir := range []string{c.state.Run(), c.state.Logs(), c.state.Volumes(), c.state.Kubelet(), c.state.PodLogs()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	names := pki.Names{Server: layout.APIServer, Node: layout.NodeName,
		Hosts: []string{layout.NodeIP, layout.APIService, layout.NodeName, "127.0.0.1", "localhost"}}
	if err := pki.Ensure(c.state.PKI(), names); err != nil {
		return err
	}
	if err := copyFile(c.state.PKI("admin.kubeconfig"), c.state.Kubeconfig()); err != nil {
		return err
	}
	if err := os.WriteFile(c.state.GPUs(), []byte(strconv.Itoa(c.settings.GPUs)+"\n"), 0o644); err != nil {
		return err
	}
	if c.changed, err = config.Write(c.settings); err != nil {
		return err
	}
	c.say.Done("certificates and configuration in %s", c.state.Root)
	return c.prepareHost()
}

func (c *cluster) prepareHost() error {
	// May be built in, absent or forbidden to load; what counts is below.
	exec.Command("modprobe", "-a", "br_netfilter", "overlay").Run() //nolint:errcheck
	missing, err := host.SetSysctls()
	if err != nil {
		return err
	}
	for _, key := range missing {
		if strings.HasPrefix(key, "net.bridge") {
			c.say.Note("the kernel has no %s (module br_netfilter): a pod may not reach a Service that leads to the same node", key)
		}
	}
	if err := host.ShareMounts(); err != nil {
		return err
	}
	if err := host.NetworkUp(); err != nil {
		return err
	}
	c.say.Done("kernel settings, network link %s and forward rules", layout.NodeLink)
	return nil
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
