package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// podCgroups gives the kubelet's folder in each cgroup hierarchy: one in each
// of version 1's, the only one in version 2's.
func podCgroups() ([]string, error) {
	mounts, err := Mounts()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, m := range mounts {
		if m.Type == "cgroup" || m.Type == "cgroup2" {
			dir := filepath.Join(m.Point, "kubepods")
			if _, err := os.Stat(dir); err == nil {
				found = append(found, dir)
			}
		}
	}
	return found, nil
}

// PodProcesses lists the processes in pods.
func PodProcesses() ([]int, error) {
	roots, err := podCgroups()
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	for _, root := range roots {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { //nolint:errcheck // folders vanish meanwhile
			if err != nil || d.Name() != "cgroup.procs" {
				return nil
			}
			text, _ := os.ReadFile(path)
			for _, f := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
			return nil
		})
	}
	var pids []int
	for pid := range seen {
		pids = append(pids, pid)
	}
	sort.Ints(pids)
	return pids, nil
}

// EndPods ends every process in a pod; they have the grace to end by themselves.
func EndPods(grace time.Duration) error {
	begin := time.Now()
	for {
		pids, err := PodProcesses()
		if err != nil || len(pids) == 0 {
			return err
		}
		sig := unix.SIGTERM
		switch waited := time.Since(begin); {
		case waited > grace+10*time.Second:
			return fmt.Errorf("%d processes in pods do not end, the first is %d", len(pids), pids[0])
		case waited > grace:
			sig = unix.SIGKILL
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("process %d: %w", pid, err)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// RemovePodCgroups removes the kubelet's cgroups, which must be empty.
func RemovePodCgroups() error {
	var last error
	for range 20 { // the kernel empties them a little later than processes end
		roots, err := podCgroups()
		if err != nil || len(roots) == 0 {
			return err
		}
		for _, root := range roots {
			var dirs []string
			filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { //nolint:errcheck // as above
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for i := len(dirs) - 1; i >= 0; i-- {
				if err := unix.Rmdir(dirs[i]); err != nil && !errors.Is(err, unix.ENOENT) {
					last = fmt.Errorf("removing %s: %w", dirs[i], err)
				}
			}
		}
		if roots, err = podCgroups(); err != nil || len(roots) == 0 {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return last
}
