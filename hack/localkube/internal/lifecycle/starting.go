package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"localkube/internal/config"
	"localkube/internal/images"
	"localkube/internal/layout"
	"localkube/internal/process"
)

const (
	logTail   = 15 // lines of a log that an error shows
	partGrace = 10 * time.Second
)

// startParts starts everything in order, waiting where the next needs it.
func (c *cluster) startParts(ctx context.Context) error {
	_, err := os.Stat(filepath.Join(c.state.Etcd(), "member"))
	newCluster := errors.Is(err, os.ErrNotExist)
	byName := map[string]config.Part{}
	for _, p := range config.Parts(c.settings) {
		byName[p.Name] = p
	}
	start := func(names ...string) error {
		for _, n := range names {
			if err := c.start(ctx, byName[n]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := start(config.Etcd, config.Containerd, config.APIServer); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	if err := c.wait(ctx, "API server ready", 120*time.Second, c.apiReady("/readyz")); err != nil {
		return err
	}
	if err := start(config.ControllerManager, config.Scheduler); err != nil {
		return err
	}
	if err := c.prepareContainerd(ctx, newCluster); err != nil {
		return err
	}
	if err := start(config.Kubelet, config.Proxy); err != nil {
		return err
	}
	if err := c.applySystemObjects(ctx); err != nil {
		return err
	}
	if err := start(config.CoreDNS, config.Provisioner, config.FakeGPU, config.MetricsServer); err != nil {
		return err
	}
	return c.waitUntilUseful(ctx)
}

// start runs a part unless it runs already with the same settings.
func (c *cluster) start(ctx context.Context, p config.Part) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if old, ok := c.running[p.Name]; ok && old.Alive() {
		if slices.Equal(old.Args[2:], p.Args) && !slices.Contains(c.changed, p.Name) {
			if old.Exe != c.exe {
				c.say.Note("%s runs from another build (%s); `down` and `up` change that", p.Name, old.Exe)
			}
			return nil
		}
		c.say.Note("%s is to run with other settings: restarting it", p.Name)
		if err := process.End(partGrace, old.Identity); err != nil {
			return err
		}
	}
	// The shim and runc are looked up in PATH: ours first, and root's folders
	// even when the caller's PATH lacks them.
	path := "PATH=" + filepath.Dir(c.exe) + ":/usr/local/sbin:/usr/sbin:/sbin:" + os.Getenv("PATH")
	s, err := process.Start(c.state, c.exe, p.Name, p.Args, []string{path})
	if err != nil {
		return err
	}
	c.started[p.Name] = s
	return nil
}

// check is an error once a part has ended that should run.
func (c *cluster) check() error {
	for name, s := range c.started {
		if how, ended := s.Ended(); ended {
			return fmt.Errorf("%s has ended (%s); the end of %s:\n%s", name, how, s.Log, indent(s.LastLines(logTail)))
		}
	}
	return nil
}

func (c *cluster) prepareContainerd(ctx context.Context, newCluster bool) error {
	ctr, err := images.Connect(c.state.ContainerdSocket())
	if err != nil {
		return err
	}
	defer ctr.Close()
	if err := c.wait(ctx, "containerd ready", 60*time.Second, ctr.Ready); err != nil {
		return err
	}
	if newCluster {
		if err := ctr.ForgetContainers(ctx); err != nil {
			return fmt.Errorf("forgetting a former cluster's containers: %w", err)
		}
	}
	if err := ctr.EnsurePause(ctx, filepath.Join(filepath.Dir(c.exe), "pause")); err != nil {
		return fmt.Errorf("making the image %s: %w", layout.PauseImage, err)
	}
	return nil
}

func (c *cluster) applySystemObjects(ctx context.Context) error {
	objects, err := config.SystemObjects(c.settings)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, c.exe, "kubectl", "--kubeconfig", c.state.Kubeconfig(), "apply", "-f", "-")
	cmd.Stdin = bytes.NewReader(objects)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("applying the system objects: %w\n%s", err, indent(string(out)))
	}
	c.say.Done("system objects: storage class local, DNS, metrics")
	return nil
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}
