package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"localkube/internal/config"
	"localkube/internal/layout"
	"localkube/internal/process"
)

func newState(t *testing.T) layout.State {
	t.Helper()
	return layout.State{Root: t.TempDir()}
}

func TestOnlyOneHoldsTheLock(t *testing.T) {
	state := newState(t)
	first, err := tryLock(state, "up")
	if err != nil || first == nil {
		t.Fatal(first, err)
	}
	if second, err := tryLock(state, "status"); second != nil || err != nil {
		t.Fatal("two hold it", err)
	}
	if id, verb := readHolder(state); verb != "up" || id.PID != os.Getpid() || !id.Alive() {
		t.Errorf("%+v %q", id, verb)
	}
	first.release()
	third, err := tryLock(state, "up")
	if err != nil || third == nil {
		t.Error("nobody holds it, and yet", err)
	}
}

func TestALockOnARemovedFileDoesNotCount(t *testing.T) {
	state := newState(t)
	first, err := tryLock(state, "down")
	if err != nil {
		t.Fatal(err)
	}
	defer first.release()
	if err := os.Remove(state.Lock()); err != nil {
		t.Fatal(err)
	}
	second, err := tryLock(state, "up")
	if err != nil || second == nil {
		t.Error("the new file's lock is free", err)
	}
}

func TestWaitSaysWhatItWaitedForWhenItGivesUp(t *testing.T) {
	p := NewProgress(&bytes.Buffer{})
	fine := func() error { return nil }
	no := func(context.Context) error { return errors.New("not yet") }
	err := p.wait(context.Background(), "the moon", 0, fine, no)
	if err == nil || !strings.Contains(err.Error(), "the moon") || !strings.Contains(err.Error(), "not yet") {
		t.Error(err)
	}
}

func TestWaitEndsWhenThereIsNoReasonToWait(t *testing.T) {
	p := NewProgress(&bytes.Buffer{})
	dead := errors.New("etcd has ended")
	no := func(context.Context) error { return errors.New("not yet") }
	if err := p.wait(context.Background(), "x", time.Hour, func() error { return dead }, no); !errors.Is(err, dead) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.wait(ctx, "x", time.Hour, func() error { return nil }, no); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestOnlyFailingChecksAreTold(t *testing.T) {
	if got := failingChecks("[+]ping ok\n[-]rbac/bootstrap failed: reason withheld\nreadyz check failed"); got != "not yet: rbac/bootstrap" {
		t.Error(got)
	}
	if got := failingChecks("connection refused"); got != "" {
		t.Error(got)
	}
}

func TestMissingToolsComeWithTheirPackagesOnce(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := findTools()
	if err == nil {
		t.Fatal("nothing is enough")
	}
	text := err.Error()
	if !strings.Contains(text, "program missing: runc") || !strings.Contains(text, "apt-get install") || strings.Count(text, " iptables ") > 1 {
		t.Error(text)
	}
}

func TestAPortInUseStandsInTheWayOfPartsThatDoNotRunYet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck
	port := l.Addr().(*net.TCPAddr).Port
	parts := []config.Part{{Name: "x", Listens: []config.Endpoint{{Network: "tcp", Address: "127.0.0.1", Port: port}}}}
	got := portProblems(parts, nil)
	if len(got) != 1 || !strings.Contains(got[0], strconv.Itoa(port)) || !strings.Contains(got[0], "lifecycle.test") {
		t.Errorf("%q", got)
	}
	if got := portProblems(parts, map[string]process.Process{"x": {}}); len(got) != 0 {
		t.Errorf("a part stands in its own way: %q", got)
	}
}

func TestTheNumberOfGPUsIsRemembered(t *testing.T) {
	state := newState(t)
	if s, err := settings(state, tools{}, Options{GPUs: -1}); err != nil || s.GPUs != defaultGPUs {
		t.Error(s.GPUs, err)
	}
	if err := os.WriteFile(state.GPUs(), []byte("7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := settings(state, tools{}, Options{GPUs: -1}); err != nil || s.GPUs != 7 {
		t.Error(s.GPUs, err)
	}
	if s, err := settings(state, tools{}, Options{GPUs: 0}); err != nil || s.GPUs != 0 {
		t.Error(s.GPUs, err)
	}
}

func TestShimSocketsAreTakenFromBothFormsAndNowhereElse(t *testing.T) {
	state := newState(t)
	task := filepath.Join(state.ContainerdState(), "io.containerd.runtime.v2.task", "k8s.io")
	for path, text := range map[string]string{
		"a/address":        "unix:///run/containerd/s/aa",
		"b/bootstrap.json": `{"version":3,"address":"unix:///run/containerd/s/bb","protocol":"ttrpc"}`,
		"c/address":        "unix:///etc/passwd",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(task, path)), 0o755), os.WriteFile(filepath.Join(task, path), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	got := shimSockets(state)
	slices.Sort(got)
	if !slices.Equal(got, []string{"/run/containerd/s/aa", "/run/containerd/s/bb"}) {
		t.Errorf("%q", got)
	}
}

func TestOnlyThisClustersCNINotesAreTaken(t *testing.T) {
	state, dir := newState(t), t.TempDir()
	for name, netns := range map[string]string{"cni-loopback-1-lo": state.Run() + "/netns/x", "podman-2-eth0": "/run/netns/y"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(`{"netns":"`+netns+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := cniResults(dir, state); len(got) != 1 || filepath.Base(got[0]) != "cni-loopback-1-lo" {
		t.Errorf("%q", got)
	}
}

func TestPurgeKeepsImagesAndAllKeepsNothing(t *testing.T) {
	for extent, left := range map[Extent]int{KeepState: 2, Purge: 1} {
		state := newState(t)
		if err := errors.Join(os.Mkdir(state.Containerd(), 0o755), os.Mkdir(state.Etcd(), 0o755)); err != nil {
			t.Fatal(err)
		}
		if err := forget(state, extent, NewProgress(&bytes.Buffer{})); err != nil {
			t.Fatal(err)
		}
		if found, _ := filepath.Glob(state.Root + "/*"); len(found) != left || !strings.HasSuffix(found[0], "containerd") {
			t.Errorf("extent %d: %q", extent, found)
		}
	}
	state := newState(t)
	if err := forget(state, All, NewProgress(&bytes.Buffer{})); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(state.Root); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
