// Package process starts the cluster's processes, finds them again and ends
// them, and never any other process.
//
// A process belongs to a cluster when its environment carries the marks that
// Start gave it (layout.EnvState, layout.EnvPart), which its children inherit.
// The process table itself is thus the record: nothing can be stale after a
// crash, and a number that the kernel has given to somebody else is harmless.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"localkube/internal/layout"
)

// Identity names one process for ever: its number, and when it started.
type Identity struct {
	PID   int
	Start uint64 // in clock ticks since the machine started
}

// Process is a process of the cluster, as found in the process table.
type Process struct {
	Identity
	Root string   // state folder of its cluster
	Part string   // the part that it is, or that it was started by
	Exe  string   // path of the program
	Args []string // command line, the program's name included
}

// IsPart says whether this is the part itself, not something it started.
func (p Process) IsPart() bool {
	return filepath.Base(p.Exe) == "localkube" && len(p.Args) > 1 && p.Args[1] == p.Part
}

// List finds every process that belongs to the state folder.
func List(state layout.State) ([]Process, error) {
	return list("/proc", func(root string) bool { return root == state.Root })
}

// ListOthers finds the processes of clusters with another state folder.
func ListOthers(state layout.State) ([]Process, error) {
	return list("/proc", func(root string) bool { return root != "" && root != state.Root })
}

func list(proc string, mine func(root string) bool) ([]Process, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		// Any of these may fail because the process has just ended; a zombie
		// has no environment and counts as ended.
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue
		}
		root, part := marks(env)
		if part == "" || !mine(root) {
			continue
		}
		start, err := startTime(dir)
		if err != nil {
			continue
		}
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		found = append(found, Process{
			Identity: Identity{pid, start}, Root: root, Part: part, Exe: strings.TrimSuffix(exe, " (deleted)"),
			Args: strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00"),
		})
	}
	return found, nil
}

// marks reads the cluster's marks from the text of /proc/PID/environ.
func marks(environ []byte) (root, part string) {
	for _, kv := range bytes.Split(environ, []byte{0}) {
		name, value, _ := strings.Cut(string(kv), "=")
		switch name {
		case layout.EnvState:
			root = value
		case layout.EnvPart:
			part = value
		}
	}
	return root, part
}

func startTime(dir string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, err
	}
	state, start, err := parseStat(string(text))
	if err == nil && (state == 'Z' || state == 'X') {
		err = errors.New("has ended")
	}
	return start, err
}

// parseStat reads state and start time from the text of /proc/PID/stat. The
// second field is a name in parentheses that may itself hold both and spaces.
func parseStat(text string) (state byte, start uint64, err error) {
	i := strings.LastIndexByte(text, ')')
	if i < 0 {
		return 0, 0, fmt.Errorf("not a process's stat line: %q", text)
	}
	f := strings.Fields(text[i+1:])
	const startField = 22 - 3 // the 22nd of all, the first here is the third
	if len(f) <= startField || len(f[0]) != 1 {
		return 0, 0, fmt.Errorf("not a process's stat line: %q", text)
	}
	start, err = strconv.ParseUint(f[startField], 10, 64)
	return f[0][0], start, err
}

// Self is the calling process.
func Self() (Identity, error) {
	start, err := startTime("/proc/self")
	return Identity{os.Getpid(), start}, err
}

// Alive says whether that very process still runs.
func (id Identity) Alive() bool {
	start, err := startTime(fmt.Sprintf("/proc/%d", id.PID))
	return err == nil && start == id.Start
}

// Signal sends a signal to that very process; none if it has ended.
func (id Identity) Signal(sig unix.Signal) error {
	// A handle first, then the check: the number cannot change hands in between.
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck
	if !id.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// End asks processes to end, and after the grace makes them.
func End(grace time.Duration, ids ...Identity) error {
	for _, step := range []struct {
		sig  unix.Signal
		wait time.Duration
	}{{unix.SIGTERM, grace}, {unix.SIGKILL, 5 * time.Second}} {
		for _, id := range ids {
			if err := id.Signal(step.sig); err != nil {
				return fmt.Errorf("process %d: %w", id.PID, err)
			}
		}
		for deadline := time.Now().Add(step.wait); ; time.Sleep(20 * time.Millisecond) {
			if ids = alive(ids); len(ids) == 0 {
				return nil
			}
			if time.Now().After(deadline) {
				break
			}
		}
	}
	return fmt.Errorf("process %d does not end", ids[0].PID)
}

func alive(ids []Identity) []Identity {
	var left []Identity
	for _, id := range ids {
		if id.Alive() {
			left = append(left, id)
		}
	}
	return left
}
