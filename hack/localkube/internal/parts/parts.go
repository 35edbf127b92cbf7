// Package parts holds the programs inside the one binary: each is the real
// thing, called as its own main function calls it.
package parts

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"

	containerdcmd "github.com/containerd/containerd/v2/cmd/containerd/command"
	ctrapp "github.com/containerd/containerd/v2/cmd/ctr/app"
	"go.etcd.io/etcd/server/v3/etcdmain"
	helmcmd "helm.sh/helm/v4/pkg/cmd"
	helmkube "helm.sh/helm/v4/pkg/kube"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	metricsserver "sigs.k8s.io/metrics-server/cmd/metrics-server/app"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// parts by name; each reads os.Args, whose first word is the name.
var parts = map[string]func() error{
	"apiserver":          func() error { return exit(cli.Run(apiserver.NewAPIServerCommand())) },
	"controller-manager": func() error { return exit(cli.Run(controllermanager.NewControllerManagerCommand())) },
	"scheduler":          func() error { return exit(cli.Run(scheduler.NewSchedulerCommand())) },
	"kubelet":            func() error { return exit(cli.Run(kubelet.NewKubeletCommand(context.Background()))) },
	"proxy":              func() error { return exit(cli.Run(proxy.NewProxyCommand())) },
	"metrics-server":     runMetricsServer,
	"coredns":            runCoreDNS,
	"etcd":               func() error { etcdmain.Main(os.Args); return nil },
	"containerd":         func() error { return containerdcmd.App().Run(context.Background(), os.Args) },
	"ctr":                func() error { return ctrapp.New().Run(context.Background(), os.Args) },
	"kubectl":            runKubectl,
	"helm":               runHelm,
	"fake-gpu":           func() error { return fakeGPU(os.Args[1:]) },
	"provisioner":        func() error { return provisioner(os.Args[1:]) },
}

// Exists says whether there is a part of that name.
func Exists(name string) bool { return parts[name] != nil }

// Run becomes the part; os.Args must begin with its name. It returns the exit
// status, if it returns at all.
func Run(name string) int {
	if name != "coredns" {
		forgetCoreDNSFlags(name)
	}
	err := parts[name]()
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code) // said already
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
}

type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func exit(code int) error {
	if code == 0 {
		return nil
	}
	return exitCode(code)
}

// forgetCoreDNSFlags undoes what linking CoreDNS in does to the others: it
// registers -version, -p and more on the global flag set, which kubelet and
// kube-proxy take over for cadvisor's flags in it.
func forgetCoreDNSFlags(name string) {
	all := flag.CommandLine
	flag.CommandLine = flag.NewFlagSet(name, flag.ExitOnError)
	all.VisitAll(func(f *flag.Flag) {
		switch f.Name {
		case "conf", "plugins", "pidfile", "version", "quiet", "log-format", "dns.port", "p":
		default:
			flag.CommandLine.Var(f.Value, f.Name, f.Usage)
		}
	})
}

func runKubectl() error {
	logs.GlogSetter(kubectlcmd.GetLogVerbosity(os.Args)) //nolint:errcheck
	if err := cli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints it as kubectl does, and exits
	}
	return nil
}

func runHelm() error {
	helmkube.ManagedFieldsManager = "helm"
	cmd, err := helmcmd.NewRootCmd(os.Stdout, os.Args[1:], helmcmd.SetupLogging)
	if err != nil {
		slog.Warn("command failed", slog.Any("error", err))
		return exit(1)
	}
	if err := cmd.Execute(); err != nil {
		if c, ok := errors.AsType[helmcmd.CommandError](err); ok {
			return exit(c.ExitCode)
		}
		return exit(1)
	}
	return nil
}

func runMetricsServer() error {
	logs.InitLogs()
	if err := metricsserver.NewMetricsServerCommand(genericapiserver.SetupSignalHandler()).Execute(); err != nil {
		return exit(1)
	}
	return nil
}
