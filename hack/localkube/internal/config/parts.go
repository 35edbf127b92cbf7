package config

import (
	"strconv"

	"localkube/internal/layout"
)

// Endpoint is an address that a part listens on.
type Endpoint struct {
	Network string // "tcp" or "udp"
	Address string // IP address; 0.0.0.0 for all
	Port    int
}

// Part is one long-running process of the cluster.
type Part struct {
	Name    string
	Args    []string // after `localkube NAME`
	Listens []Endpoint
}

func tcp(address string, port int) Endpoint { return Endpoint{"tcp", address, port} }

// The parts' names, in the order in which they start.
const (
	Etcd              = "etcd"
	Containerd        = "containerd"
	APIServer         = "apiserver"
	ControllerManager = "controller-manager"
	Scheduler         = "scheduler"
	Kubelet           = "kubelet"
	Proxy             = "proxy"
	CoreDNS           = "coredns"
	Provisioner       = "provisioner"
	FakeGPU           = "fake-gpu"
	MetricsServer     = "metrics-server"
)

// Parts gives the command line of every part, in starting order.
func Parts(s Settings) []Part {
	return []Part{
		etcd(s), containerd(s), apiServer(s), controllerManager(s), scheduler(s), kubelet(s), proxy(s),
		{Name: CoreDNS, Args: []string{"-conf", s.Etc("Corefile")}, Listens: []Endpoint{
			{"udp", layout.NodeIP, 53}, tcp(layout.NodeIP, 53), tcp("127.0.0.1", 18080), tcp("127.0.0.1", 18181)}},
		{Name: Provisioner, Args: []string{"--kubeconfig", s.Kubeconfig(), "--dir", s.Volumes(), "--node", layout.NodeName}},
		{Name: FakeGPU, Args: []string{"--count", strconv.Itoa(s.GPUs), "--dir", layout.DevicePlugins}},
		metricsServer(s),
	}
}

func etcd(s Settings) Part {
	return Part{Name: Etcd, Listens: []Endpoint{tcp("127.0.0.1", 2379), tcp("127.0.0.1", 2380)}, Args: []string{
		"--name=localkube", "--data-dir=" + s.Etcd(),
		"--listen-client-urls=https://127.0.0.1:2379", "--advertise-client-urls=https://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=localkube=http://127.0.0.1:2380",
		"--cert-file=" + s.PKI("etcd.crt"), "--key-file=" + s.PKI("etcd.key"),
		"--client-cert-auth", "--trusted-ca-file=" + s.PKI("ca.crt"),
		// A cluster for trying things out: a lost second after a power cut is no loss.
		"--unsafe-no-fsync",
		"--auto-compaction-mode=periodic", "--auto-compaction-retention=30m",
		"--logger=zap", "--log-level=warn",
	}}
}

func containerd(s Settings) Part {
	return Part{Name: Containerd, Args: []string{"--config", s.Etc("containerd.toml")}}
}

func apiServer(s Settings) Part {
	return Part{Name: APIServer, Listens: []Endpoint{tcp(layout.NodeIP, 6443)}, Args: []string{
		"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile=" + s.PKI("ca.crt"),
		"--etcd-certfile=" + s.PKI("etcd.crt"), "--etcd-keyfile=" + s.PKI("etcd.key"),
		// Not on every address: nobody outside this machine has business here.
		"--bind-address=" + layout.NodeIP, "--advertise-address=" + layout.NodeIP, "--secure-port=6443",
		"--service-cluster-ip-range=" + layout.ServiceCIDR,
		"--client-ca-file=" + s.PKI("ca.crt"),
		"--tls-cert-file=" + s.PKI("apiserver.crt"), "--tls-private-key-file=" + s.PKI("apiserver.key"),
		"--kubelet-client-certificate=" + s.PKI("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + s.PKI("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + s.PKI("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + s.PKI("sa.pub"), "--service-account-signing-key-file=" + s.PKI("sa.key"),
		"--requestheader-client-ca-file=" + s.PKI("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + s.PKI("front-proxy-client.crt"),
		"--proxy-client-key-file=" + s.PKI("front-proxy-client.key"),
		"--enable-aggregator-routing=true",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--profiling=false",
	}}
}

// clientLimits lets tests that make many objects wait for the cluster rather
// than for a client's own brake.
var clientLimits = []string{"--kube-api-qps=200", "--kube-api-burst=400"}

func controllerManager(s Settings) Part {
	kubeconfig := s.PKI("controller-manager.kubeconfig")
	return Part{Name: ControllerManager, Listens: []Endpoint{tcp("127.0.0.1", 10257)}, Args: append([]string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--service-account-private-key-file=" + s.PKI("sa.key"), "--root-ca-file=" + s.PKI("ca.crt"),
		"--cluster-signing-cert-file=" + s.PKI("ca.crt"), "--cluster-signing-key-file=" + s.PKI("ca.key"),
		"--use-service-account-credentials=true",
		"--allocate-node-cidrs=true", "--cluster-cidr=" + layout.PodCIDR, "--node-cidr-mask-size=24",
		"--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false",
		"--horizontal-pod-autoscaler-sync-period=5s", "--horizontal-pod-autoscaler-downscale-stabilization=30s",
	}, clientLimits...)}
}

func scheduler(s Settings) Part {
	kubeconfig := s.PKI("scheduler.kubeconfig")
	return Part{Name: Scheduler, Listens: []Endpoint{tcp("127.0.0.1", 10259)}, Args: append([]string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false",
	}, clientLimits...)}
}

func kubelet(s Settings) Part {
	return Part{Name: Kubelet, Listens: []Endpoint{tcp(layout.NodeIP, 10250), tcp("127.0.0.1", 10248)}, Args: []string{
		"--config=" + s.Etc("kubelet.yaml"), "--kubeconfig=" + s.PKI("kubelet.kubeconfig"),
		"--hostname-override=" + layout.NodeName, "--node-ip=" + layout.NodeIP,
		"--root-dir=" + s.Kubelet(), "--cert-dir=" + s.KubeletPKI(),
	}}
}

func proxy(s Settings) Part {
	return Part{Name: Proxy, Listens: []Endpoint{tcp("127.0.0.1", 10249), tcp("127.0.0.1", 10256)},
		Args: []string{"--config=" + s.Etc("proxy.yaml")}}
}

func metricsServer(s Settings) Part {
	kubeconfig := s.PKI("metrics-server.kubeconfig")
	return Part{Name: MetricsServer, Listens: []Endpoint{tcp(layout.NodeIP, 4443)}, Args: []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--secure-port=4443", "--bind-address=" + layout.NodeIP,
		"--tls-cert-file=" + s.PKI("metrics-server.crt"), "--tls-private-key-file=" + s.PKI("metrics-server.key"),
		"--kubelet-certificate-authority=" + s.PKI("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		// The resolution must exceed the time limit of one request, or it refuses to start.
		"--metric-resolution=10s", "--kubelet-request-timeout=5s",
	}}
}
