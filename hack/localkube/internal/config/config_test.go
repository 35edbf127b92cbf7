package config

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"localkube/internal/layout"
)

func settings() Settings {
	return Settings{State: layout.State{Root: "/s"}, Runc: "/usr/sbin/runc", CNIPlugins: "/usr/lib/cni", MaxOpenFiles: 20000, GPUs: 3}
}

func render(t *testing.T, name string) string {
	t.Helper()
	text, err := Render(name, settings())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "{{") || strings.Contains(string(text), "<no value>") {
		t.Errorf("%s has a place that is not filled in:\n%s", name, text)
	}
	return string(text)
}

func TestYAMLFilesParseAndSayWhatMatters(t *testing.T) {
	for name, want := range map[string]map[string]any{
		"kubelet.yaml": {"cgroupDriver": "cgroupfs", "failCgroupV1": false, "maxOpenFiles": 20000.0,
			"containerRuntimeEndpoint": "unix:///s/run/containerd.sock", "podLogsDir": "/s/pod-logs", "address": "172.31.255.1"},
		"proxy.yaml": {"mode": "iptables", "clusterCIDR": "10.244.0.0/24"},
	} {
		var got map[string]any
		if err := yaml.UnmarshalStrict([]byte(render(t, name)), &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%s: %s is %v, not %v", name, key, got[key], value)
			}
		}
	}
}

func TestContainerdKeepsEverythingUnderTheStateFolder(t *testing.T) {
	text := render(t, "containerd.toml")
	for _, line := range []string{
		`root = "/s/containerd"`, `state = "/s/run/containerd"`, `Root = "/s/run/runc"`,
		"restrict_oom_score_adj = true", "netns_mounts_under_state_dir = true", `sandbox = "localhost/pause:1"`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

func TestCNIConfigurationIsJSONForTheBridgeThatDownRemoves(t *testing.T) {
	var got struct {
		Name    string
		Plugins []struct{ Type, Bridge string }
	}
	if err := json.Unmarshal([]byte(render(t, "10-localkube.conflist")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Name != layout.CNINetwork || got.Plugins[0].Bridge != layout.PodBridge {
		t.Errorf("got %+v", got)
	}
}

// Directives run in a fixed order, in which template answers all that is left.
func TestCorefileAnswersForTheClusterOnly(t *testing.T) {
	text := render(t, "Corefile")
	for _, word := range []string{"bind 172.31.255.1", "kubernetes cluster.local", "rcode NXDOMAIN"} {
		if !strings.Contains(text, word) {
			t.Errorf("no %q in\n%s", word, text)
		}
	}
	if strings.Contains(text, "forward") {
		t.Error("queries would leave the machine")
	}
}

func TestSystemObjectsParseAndHaveADefaultClass(t *testing.T) {
	defaults := 0
	for _, doc := range strings.Split(render(t, "system.yaml"), "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Annotations map[string]string }
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if o.Kind == "" {
			t.Errorf("an object without a kind:\n%s", doc)
		}
		if o.Kind == "StorageClass" && o.Metadata.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
			defaults++
		}
	}
	if defaults != 1 {
		t.Errorf("%d default storage classes", defaults)
	}
}

func TestPartsStartInAnOrderInWhichEachFindsWhatItNeeds(t *testing.T) {
	var names []string
	for _, p := range Parts(settings()) {
		names = append(names, p.Name)
	}
	for _, pair := range [][2]string{{Etcd, APIServer}, {Containerd, Kubelet}, {APIServer, ControllerManager}, {APIServer, Kubelet}, {Kubelet, FakeGPU}} {
		if slices.Index(names, pair[0]) > slices.Index(names, pair[1]) {
			t.Errorf("%s starts after %s", pair[0], pair[1])
		}
	}
}

func TestNoTwoPartsListenAtTheSamePlaceAndNoneEverywhere(t *testing.T) {
	seen := map[Endpoint]string{}
	for _, p := range Parts(settings()) {
		for _, e := range p.Listens {
			if other, taken := seen[e]; taken {
				t.Errorf("%s and %s both listen on %v", p.Name, other, e)
			}
			if e.Address == "0.0.0.0" {
				t.Errorf("%s can be reached from other machines", p.Name)
			}
			seen[e] = p.Name
		}
	}
}

func TestTheNumberOfGPUsReachesThePlugin(t *testing.T) {
	for _, p := range Parts(settings()) {
		if p.Name == FakeGPU && !slices.Equal(p.Args[:2], []string{"--count", "3"}) {
			t.Errorf("got %v", p.Args)
		}
	}
}

func TestWriteTouchesOnlyWhatChanged(t *testing.T) {
	s := settings()
	s.State = layout.State{Root: t.TempDir()}
	if changed, err := Write(s); err != nil || !slices.Contains(changed, Proxy) || !slices.Contains(changed, Kubelet) {
		t.Fatal(changed, err)
	}
	if changed, err := Write(s); err != nil || len(changed) != 0 {
		t.Error(changed, err)
	}
	s.MaxOpenFiles++
	if changed, err := Write(s); err != nil || !slices.Equal(changed, []string{Kubelet}) {
		t.Error(changed, err)
	}
}
