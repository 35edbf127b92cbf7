package process

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"localkube/internal/layout"
)

// maxLog is the size at which a log is set aside at the next start.
const maxLog = 32 << 20

// Started is a part that this call of the program started.
type Started struct {
	Identity
	Log    string
	offset int64         // where in the log this start begins
	ended  chan struct{} // closed when the process has ended
	how    string        // how it ended
}

// Start runs `EXE PART ARGS...` in a session of its own, so that neither a
// closed terminal nor Ctrl-C ends it, with its output appended to its log.
func Start(state layout.State, exe, part string, args []string, extraEnv []string) (*Started, error) {
	path := state.Log(part)
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck
	fmt.Fprintf(log, "\n=== %s localkube %s %s\n", time.Now().Format(time.RFC3339), part, strings.Join(args, " "))
	fi, err := log.Stat()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, append([]string{part}, args...)...)
	cmd.Env = append(environment(os.Environ()), extraEnv...)
	cmd.Env = append(cmd.Env, layout.EnvState+"="+state.Root, layout.EnvPart+"="+part)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", part, err)
	}
	s := &Started{Log: path, offset: fi.Size(), ended: make(chan struct{})}
	s.PID = cmd.Process.Pid
	// It cannot be gone from the table: only Wait, below, takes it out.
	s.Start, _ = startTime(fmt.Sprintf("/proc/%d", s.PID))
	go func() {
		cmd.Wait() //nolint:errcheck // the state says more
		s.how = cmd.ProcessState.String()
		close(s.ended)
	}()
	return s, nil
}

// environment leaves out what would change how parts behave.
func environment(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case layout.EnvState, layout.EnvPart, "KUBECONFIG", "GOMAXPROCS", "GODEBUG", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID":
		default:
			out = append(out, kv)
		}
	}
	return out
}

// Ended says whether the process has ended, and how.
func (s *Started) Ended() (how string, ended bool) {
	select {
	case <-s.ended:
		return s.how, true
	default:
		return "", false
	}
}

// LastLines gives the end of what the part wrote since it was started.
func (s *Started) LastLines(n int) string { return LastLines(s.Log, s.offset, n) }

// LastLines gives the last lines of a file, from an offset on.
func LastLines(path string, offset int64, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close() //nolint:errcheck
	fi, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	const tail = 64 << 10
	offset = max(offset, fi.Size()-tail)
	buf := make([]byte, max(fi.Size()-offset, 0))
	got, _ := f.ReadAt(buf, offset)
	lines := strings.Split(strings.TrimRight(string(buf[:got]), "\n"), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}
