package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"localkube/internal/config"
	"localkube/internal/layout"
	"localkube/internal/process"
)

const (
	gpuResource  = corev1.ResourceName("nvidia.com/gpu")
	metricsGroup = "/apis/metrics.k8s.io/v1beta1"
)

func (c *cluster) wait(ctx context.Context, what string, limit time.Duration, probe func(context.Context) error) error {
	return c.say.wait(ctx, what, limit, c.check, probe)
}

func (c *cluster) connect() error {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.state.Kubeconfig())
	if err != nil {
		return err
	}
	cfg.QPS, cfg.Burst = 100, 200
	c.client, err = kubernetes.NewForConfig(cfg)
	return err
}

func (c *cluster) apiReady(path string) func(context.Context) error {
	return func(ctx context.Context) error {
		text, err := c.client.RESTClient().Get().AbsPath(path).DoRaw(ctx)
		if err != nil {
			if failing := failingChecks(string(text)); failing != "" {
				return errors.New(failing)
			}
		}
		return err
	}
}

// failingChecks picks from the API server's list of checks those that fail.
func failingChecks(text string) string {
	var names []string
	for _, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "[-]"); ok {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "not yet: " + strings.Join(names, ", ")
}

// waitUntilUseful waits for all that a user's first command may need.
func (c *cluster) waitUntilUseful(ctx context.Context) error {
	for _, w := range []struct {
		what  string
		limit time.Duration
		probe func(context.Context) error
	}{
		{"node ready", 120 * time.Second, c.nodeReady},
		{fmt.Sprintf("%d fake GPUs offered", c.settings.GPUs), 60 * time.Second, c.gpusOffered},
		{"DNS ready", 60 * time.Second, dnsReady},
		{"service account default", 60 * time.Second, c.serviceAccount},
		// Without it, deleting a namespace hangs until it is there.
		{"metrics API ready", 90 * time.Second, c.apiReady(metricsGroup)},
	} {
		if err := c.wait(ctx, w.what, w.limit, w.probe); err != nil {
			return err
		}
	}
	return c.checkAll()
}

// checkAll also looks at the parts that ran before: an `up` that leaves one
// out has not done what it says.
func (c *cluster) checkAll() error {
	if err := c.check(); err != nil {
		return err
	}
	running, err := runningParts(c.state)
	if err != nil {
		return err
	}
	for _, p := range config.Parts(c.settings) {
		if _, ok := running[p.Name]; !ok {
			log := c.state.Log(p.Name)
			return fmt.Errorf("%s has ended meanwhile; the end of %s:\n%s", p.Name, log, indent(process.LastLines(log, 0, logTail)))
		}
	}
	return nil
}

func (c *cluster) node(ctx context.Context) (*corev1.Node, error) {
	return c.client.CoreV1().Nodes().Get(ctx, layout.NodeName, metav1.GetOptions{})
}

func (c *cluster) nodeReady(ctx context.Context) error {
	n, err := c.node(ctx)
	if err != nil {
		return err
	}
	for _, cond := range n.Status.Conditions {
		if cond.Type != corev1.NodeReady {
			continue
		}
		// The state of a former run may still say True.
		if cond.Status == corev1.ConditionTrue && time.Since(cond.LastHeartbeatTime.Time) < time.Minute {
			return nil
		}
		return fmt.Errorf("node %s: %s", layout.NodeName, cond.Message)
	}
	return fmt.Errorf("node %s has not reported yet", layout.NodeName)
}

func (c *cluster) gpusOffered(ctx context.Context) error {
	n, err := c.node(ctx)
	if err != nil {
		return err
	}
	q := n.Status.Allocatable[gpuResource]
	if q.Value() != int64(c.settings.GPUs) {
		return fmt.Errorf("the node offers %d", q.Value())
	}
	return nil
}

func (c *cluster) serviceAccount(ctx context.Context) error {
	_, err := c.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	return err
}

func dnsReady(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:18181/ready", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("CoreDNS answers %s", resp.Status)
	}
	return nil
}
