package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"localkube/internal/layout"
)

// TestMain lets this test program stand in for parts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "sleeper":
			time.Sleep(time.Minute)
			os.Exit(0)
		case "failer":
			fmt.Println("first\nlast words")
			os.Exit(7)
		}
	}
	os.Exit(m.Run())
}

func TestParseStatSurvivesNamesWithParenthesesAndSpaces(t *testing.T) {
	tail := " S 1 2 2 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 %d 1 1"
	for _, name := range []string{"(bash)", "(a) S 9 (b)", "(tmux: server)"} {
		state, start, err := parseStat(fmt.Sprintf("42 "+name+tail, 4711))
		if err != nil || state != 'S' || start != 4711 {
			t.Errorf("%s: %c %d %v", name, state, start, err)
		}
	}
	for _, text := range []string{"", "42 (x", "42 (x) S 1 2"} {
		if _, _, err := parseStat(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestMarksAreWholeNames(t *testing.T) {
	root, part := marks([]byte("A=1\x00X_LOCALKUBE_PART=no\x00LOCALKUBE_STATE=/s=t\x00LOCALKUBE_PART=etcd\x00"))
	if root != "/s=t" || part != "etcd" {
		t.Errorf("%q %q", root, part)
	}
}

// startPart starts this program as a part, under the name that IsPart expects.
func startPart(t *testing.T, state layout.State, part string) *Started {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(state.Root, "localkube")
	if err := os.Link(self, exe); err != nil && !os.IsExist(err) {
		text, rerr := os.ReadFile(self)
		if rerr != nil {
			t.Fatal(rerr)
		}
		if err := os.WriteFile(exe, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(state.Logs(), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := Start(state, exe, part, []string{"--flag"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Signal(unix.SIGKILL) }) //nolint:errcheck
	return s
}

func TestListFindsThePartsOfOneStateFolderOnly(t *testing.T) {
	mine, other := layout.State{Root: t.TempDir()}, layout.State{Root: t.TempDir()}
	s := startPart(t, mine, "sleeper")
	startPart(t, other, "sleeper")
	found, err := List(mine)
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v %v", found, err)
	}
	if p := found[0]; p.Identity != s.Identity || !p.IsPart() || p.Part != "sleeper" || p.Args[2] != "--flag" {
		t.Errorf("%+v", p)
	}
}

func TestEndEndsThatProcessAndNoOther(t *testing.T) {
	state := layout.State{Root: t.TempDir()}
	s := startPart(t, state, "sleeper")
	reused := Identity{PID: s.PID, Start: s.Start + 1}
	if err := End(time.Second, reused); err != nil {
		t.Fatal(err)
	}
	if !s.Alive() {
		t.Fatal("a process with another start time was ended")
	}
	if err := End(time.Second, s.Identity); err != nil {
		t.Fatal(err)
	}
	if s.Alive() {
		t.Fatal("it still runs")
	}
}

func TestAPartThatEndsIsNoticedWithItsLastWords(t *testing.T) {
	state := layout.State{Root: t.TempDir()}
	<-startPart(t, state, "failer").ended
	s := startPart(t, state, "failer")
	<-s.ended
	how, ended := s.Ended()
	if !ended || !strings.Contains(how, "7") {
		t.Errorf("%q %v", how, ended)
	}
	if got := s.LastLines(1); got != "last words" {
		t.Errorf("%q", got)
	}
	if got := strings.Count(s.LastLines(100), "first"); got != 1 {
		t.Errorf("the log of %d starts is shown", got)
	}
}

func TestAPartOutlivesItsStartersSession(t *testing.T) {
	s := startPart(t, layout.State{Root: t.TempDir()}, "sleeper")
	sid, err := unix.Getsid(s.PID)
	if err != nil || sid != s.PID {
		t.Errorf("session %d of process %d: %v", sid, s.PID, err)
	}
}

func TestPartsDoNotInheritWhatChangesThem(t *testing.T) {
	got := strings.Join(environment([]string{"PATH=/bin", "KUBECONFIG=/x", "LOCALKUBE_PART=old", "HOME=/root"}), " ")
	if got != "PATH=/bin HOME=/root" {
		t.Error(got)
	}
}

func TestAZombieIsNotAlive(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() //nolint:errcheck
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := startTime(fmt.Sprintf("/proc/%d", cmd.Process.Pid)); err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a process that has ended counts as alive")
		}
	}
}
