package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"localkube/internal/config"
	"localkube/internal/host"
	"localkube/internal/layout"
	"localkube/internal/process"
)

// Extent says how much `down` forgets.
type Extent int

const (
	KeepState Extent = iota // the next `up` continues where this one ended
	Purge                   // forget objects and volumes, keep images
	All                     // remove the state folder
)

// podGrace is how long pods have to end by themselves.
const podGrace = 2 * time.Second

// Down ends the cluster and puts the machine back as it was before `up`. It
// does every step even if one fails, and can be called again.
func Down(ctx context.Context, state layout.State, extent Extent, say *Progress) error {
	if err := requireRoot(); err != nil {
		return err
	}
	if _, err := os.Stat(state.Root); errors.Is(err, os.ErrNotExist) {
		if procs, err := process.List(state); err != nil || len(procs) == 0 {
			say.Done("nothing to stop: %s does not exist", state.Root)
			return err
		}
	}
	l, err := acquire(ctx, state, "down", say)
	if err != nil {
		return err
	}
	defer l.release()
	errs := []error{stopProcesses(state, say)}
	errs = append(errs, restoreMachine(state, say))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return forget(state, extent, say)
}

// stopProcesses ends all processes of the cluster.
func stopProcesses(state layout.State, say *Progress) error {
	var errs []error
	stop := func(grace time.Duration, parts ...string) {
		running, err := runningParts(state)
		errs = append(errs, err)
		var ids []process.Identity
		for _, name := range parts {
			if p, ok := running[name]; ok {
				ids = append(ids, p.Identity)
			}
		}
		errs = append(errs, process.End(grace, ids...))
	}
	// The kubelet first, so that nothing starts again.
	stop(partGrace, config.Kubelet, config.FakeGPU, config.Provisioner, config.MetricsServer, config.CoreDNS)
	say.Done("kubelet and helpers have ended")
	if ours, err := podsAreOurs(state); err != nil {
		errs = append(errs, err)
	} else if ours {
		errs = append(errs, host.EndPods(podGrace))
		say.Done("pods have ended")
	}
	stop(partGrace, config.Proxy, config.Scheduler, config.ControllerManager, config.APIServer)
	stop(partGrace, config.Containerd, config.Etcd)
	// What is left was started by a part: shims, and runc or CNI plugins cut
	// off in the middle.
	left, err := process.List(state)
	errs = append(errs, err)
	var ids []process.Identity
	for _, p := range left {
		ids = append(ids, p.Identity)
	}
	errs = append(errs, process.End(time.Second, ids...))
	say.Done("all parts have ended")
	return errors.Join(errs...)
}

// podsAreOurs guards the pods of another kubelet: `up` refuses to start beside
// one, so while Before exists they can only be this cluster's.
func podsAreOurs(state layout.State) (bool, error) {
	before, err := host.LoadBefore(state.Before())
	return before != nil && before.SameBoot(), err
}

// restoreMachine undoes what `up` and the parts did outside the state folder.
func restoreMachine(state layout.State, say *Progress) error {
	before, err := host.LoadBefore(state.Before())
	if err != nil {
		return err
	}
	var errs []error
	sockets := shimSockets(state)
	errs = append(errs, host.UnmountBelow(state.Root))
	if before != nil && before.SameBoot() {
		errs = append(errs, host.NetworkDown(), before.RemoveRules(), host.RemovePodCgroups(), before.RestoreSysctls(), before.UnshareMounts())
	}
	if before != nil {
		errs = append(errs, removeStrayFiles(state, sockets))
		before.RemoveSharedFolders()
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.RemoveAll(state.Run()); err != nil {
		return err
	}
	// Last: while it is there, a further `down` does all this again.
	if err := os.Remove(state.Before()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	say.Done("network, firewall, mounts, cgroups and kernel settings are as before")
	return nil
}

// removeStrayFiles removes the parts' files whose place is fixed.
func removeStrayFiles(state layout.State, sockets []string) error {
	var errs []error
	stray := append([]string{}, sockets...)
	for _, pattern := range []string{
		filepath.Join(layout.DevicePlugins, "*.sock"), filepath.Join(layout.DevicePlugins, "kubelet_internal_checkpoint"),
		filepath.Join(layout.DevicePlugins, "DEPRECATION"),
	} {
		found, _ := filepath.Glob(pattern)
		stray = append(stray, found...)
	}
	stray = append(stray, cniResults(layout.CNIResults, state)...)
	for _, f := range stray {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, host.RemoveLinksInto(layout.ContainerLogs, state.PodLogs()))
	return errors.Join(errs...)
}

// cniResults finds the CNI library's notes on this cluster's pods: others may
// keep theirs in the same folder, ours name a network namespace of ours.
func cniResults(dir string, state layout.State) []string {
	var found []string
	paths, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, p := range paths {
		if text, err := os.ReadFile(p); err == nil && strings.Contains(string(text), state.Run()+"/") {
			found = append(found, p)
		}
	}
	return found
}

// shimSockets reads from containerd's state where its shims listened.
func shimSockets(state layout.State) []string {
	var found []string
	pattern := filepath.Join(state.ContainerdState(), "io.containerd.runtime.v2.task", "*", "*")
	for _, file := range []string{"address", "bootstrap.json"} {
		paths, _ := filepath.Glob(filepath.Join(pattern, file))
		for _, p := range paths {
			text, _ := os.ReadFile(p)
			for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return r == '"' || r == '\n' }) {
				if s, ok := strings.CutPrefix(word, "unix://"); ok && filepath.Dir(s) == layout.ShimSockets {
					found = append(found, s)
				}
			}
		}
	}
	return found
}

// forget removes what the extent says of the state folder.
func forget(state layout.State, extent Extent, say *Progress) error {
	var paths []string
	switch extent {
	case KeepState:
		say.Done("down; `localkube up` continues where this ended")
		return nil
	case Purge:
		paths = []string{state.Etcd(), state.Kubelet(), state.KubeletPKI(), state.KubeletPlugins(), state.PKI(), state.Kubeconfig(),
			state.Volumes(), state.PodLogs(), state.Logs(), state.Etc(), state.GPUs()}
	case All:
		paths = []string{state.Root}
	}
	for _, p := range paths {
		if err := os.RemoveAll(p); err != nil {
			return fmt.Errorf("removing %s: %w", p, err)
		}
	}
	if extent == All {
		say.Done("down; %s is removed", state.Root)
	} else {
		say.Done("down; objects and volumes are forgotten, images are kept in %s", state.Root)
	}
	return nil
}
