// localkube is a real one-node Kubernetes in one program. Its verbs bring the
// cluster up and down; its parts are the cluster's components and the tools to
// use it. Called as `kubectl`, `helm` or any other part's name (by a link), it
// is that part.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"localkube/internal/images"
	"localkube/internal/layout"
	"localkube/internal/lifecycle"
	"localkube/internal/parts"
	"localkube/internal/pki"
)

const usage = `usage: localkube VERB [flags]

  up [--gpus N]          start the cluster, or what of it does not run; N fake GPUs (default 4, or as before)
  down [--purge|--all]   stop it and put the machine back as it was; --purge also forgets objects
                         and volumes, --all removes the state folder with the images
  status                 one line a part; exit code 0 all up, 1 some, 3 none
  env                    shell commands for KUBECONFIG and PATH: eval "$(localkube env)"
  import IMAGE...        take images from root's buildah into the cluster
  certs --dir DIR        only make certificates and kubeconfigs

and the parts, with their own flags: apiserver controller-manager scheduler kubelet proxy etcd
containerd coredns metrics-server fake-gpu provisioner; ctr (of this cluster); kubectl, helm

LOCALKUBE_STATE  folder of all state, default $HOME/.cache/sd-operator/localkube-state
`

const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

var verbs = map[string]func(context.Context, layout.State, []string) (int, error){
	"up": up, "down": down, "status": status, "env": env, "import": importImages, "certs": certs,
}

func main() {
	extendNoProxy()
	if name := filepath.Base(os.Args[0]); name != "localkube" && parts.Exists(name) {
		os.Exit(parts.Run(name))
	}
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(exitUsage)
	}
	name := os.Args[1]
	if parts.Exists(name) {
		os.Args = os.Args[1:]
		useOwnCluster(name)
		os.Exit(parts.Run(name))
	}
	os.Exit(runVerb(name, os.Args[2:]))
}

func runVerb(name string, args []string) int {
	verb, ok := verbs[name]
	if !ok {
		if name == "help" || name == "-h" || name == "--help" {
			fmt.Print(usage)
			return 0
		}
		fmt.Fprintf(os.Stderr, "localkube: no verb or part %q\n%s", name, usage)
		return exitUsage
	}
	state, err := layout.FromEnvironment()
	if err != nil {
		fmt.Fprintln(os.Stderr, "localkube:", err)
		return exitFailed
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code, err := verb(ctx, state, args)
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "localkube %s: interrupted; `localkube down` removes what was started\n", name)
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(os.Stderr, "localkube %s: %v\n", name, err)
		return max(code, exitFailed)
	}
	return code
}

// flags are a verb's; wrong ones end the program.
func flags(name string, args []string, define func(*flag.FlagSet)) []string {
	fs := flag.NewFlagSet("localkube "+name, flag.ExitOnError)
	define(fs)
	fs.Parse(args) //nolint:errcheck // exits by itself
	return fs.Args()
}

func none(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	return nil
}

func up(ctx context.Context, state layout.State, args []string) (int, error) {
	var opts lifecycle.Options
	rest := flags("up", args, func(fs *flag.FlagSet) {
		fs.IntVar(&opts.GPUs, "gpus", -1, "fake nvidia.com/gpu devices to offer (default 4, or as before)")
	})
	if err := none(rest); err != nil {
		return exitUsage, err
	}
	return 0, lifecycle.Up(ctx, state, opts, lifecycle.NewProgress(os.Stderr))
}

func down(ctx context.Context, state layout.State, args []string) (int, error) {
	var purge, all bool
	rest := flags("down", args, func(fs *flag.FlagSet) {
		fs.BoolVar(&purge, "purge", false, "also forget objects and volumes")
		fs.BoolVar(&all, "all", false, "remove the state folder, images included")
	})
	if err := none(rest); err != nil {
		return exitUsage, err
	}
	extent := lifecycle.KeepState
	if purge {
		extent = lifecycle.Purge
	}
	if all {
		extent = lifecycle.All
	}
	return 0, lifecycle.Down(ctx, state, extent, lifecycle.NewProgress(os.Stderr))
}

func status(_ context.Context, state layout.State, args []string) (int, error) {
	if err := none(args); err != nil {
		return exitUsage, err
	}
	health, err := lifecycle.Status(state, os.Stdout)
	return int(health), err
}

func env(_ context.Context, state layout.State, args []string) (int, error) {
	if err := none(args); err != nil {
		return exitUsage, err
	}
	exe, err := os.Executable()
	if err != nil {
		return exitFailed, err
	}
	fmt.Printf("export KUBECONFIG='%s' PATH='%s':\"$PATH\" %s='%s'\n", state.Kubeconfig(), filepath.Dir(exe), layout.EnvState, state.Root)
	return 0, nil
}

func importImages(ctx context.Context, state layout.State, args []string) (int, error) {
	store := images.Store{}
	names := flags("import", args, func(fs *flag.FlagSet) {
		fs.StringVar(&store.Root, "store", images.DefaultStore, "buildah's storage folder")
	})
	if len(names) == 0 {
		return exitUsage, errors.New("name at least one image")
	}
	ctr, err := images.Connect(state.ContainerdSocket())
	if err != nil {
		return exitFailed, err
	}
	defer ctr.Close()
	probe, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := ctr.Ready(probe); err != nil {
		return exitFailed, fmt.Errorf("the cluster's containerd does not answer, is the cluster up? %w", err)
	}
	for _, name := range names {
		begin := time.Now()
		img, err := store.Image(name)
		if err != nil {
			return exitFailed, err
		}
		linked, err := ctr.Import(ctx, img)
		if err != nil {
			return exitFailed, fmt.Errorf("%s: %w", img.Name, err)
		}
		fmt.Fprintf(os.Stderr, "%6.1fs  %s: %d layers, %d files linked\n", time.Since(begin).Seconds(), img.Name, len(img.Layers), linked)
	}
	return 0, nil
}

func certs(_ context.Context, _ layout.State, args []string) (int, error) {
	names := pki.Names{Server: layout.APIServer, Node: layout.NodeName, Hosts: []string{layout.NodeIP, layout.NodeName}}
	var dir string
	rest := flags("certs", args, func(fs *flag.FlagSet) { fs.StringVar(&dir, "dir", "", "new folder to write to") })
	if err := none(rest); err != nil {
		return exitUsage, err
	}
	if dir == "" {
		return exitUsage, errors.New("--dir is needed")
	}
	return 0, pki.Write(dir, names)
}

// useOwnCluster points the tools at this cluster unless the caller points
// them elsewhere.
func useOwnCluster(part string) {
	state, err := layout.FromEnvironment()
	if err != nil {
		return // the tool will say what it lacks
	}
	for name, value := range map[string]map[string]string{
		"kubectl": {"KUBECONFIG": state.Kubeconfig()},
		"helm":    {"KUBECONFIG": state.Kubeconfig()},
		"ctr":     {"CONTAINERD_ADDRESS": state.ContainerdSocket(), "CONTAINERD_NAMESPACE": layout.ContainerdNamespace},
	}[part] {
		if os.Getenv(name) == "" {
			os.Setenv(name, value) //nolint:errcheck // only fails for impossible names
		}
	}
}

// extendNoProxy keeps the cluster's own traffic off a configured proxy.
func extendNoProxy() {
	own := "127.0.0.1,localhost," + layout.NodeIP + "," + layout.ServiceCIDR + "," + layout.PodCIDR + ",.svc,.cluster.local"
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		value := own
		if old := os.Getenv(name); old != "" {
			value = old + "," + own
		}
		os.Setenv(name, value) //nolint:errcheck // as above
	}
}
