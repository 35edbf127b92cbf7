package host

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is one line of the kernel's list of mounts.
type Mount struct {
	ID     int    `json:"id"`
	Point  string `json:"point"`
	Type   string `json:"type"`
	Shared bool   `json:"-"` // mounts made below it show in other mount namespaces
}

// Mounts lists what is mounted.
func Mounts() ([]Mount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(text)), nil
}

// parseMounts reads the text of /proc/PID/mountinfo (see proc(5)).
func parseMounts(text string) []Mount {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var out []Mount
	for _, line := range strings.Split(text, "\n") {
		left, right, ok := strings.Cut(line, " - ")
		f, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 6 || len(r) < 1 {
			continue
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			continue
		}
		m := Mount{ID: id, Point: unescape.Replace(f[4]), Type: r[0]}
		for _, tag := range f[6:] {
			m.Shared = m.Shared || strings.HasPrefix(tag, "shared:")
		}
		out = append(out, m)
	}
	return out
}

// below picks the mount points under a folder, deepest first.
func below(mounts []Mount, folder string) []string {
	var points []string
	for _, m := range mounts {
		if strings.HasPrefix(m.Point, strings.TrimSuffix(folder, "/")+"/") {
			points = append(points, m.Point)
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(points)))
	return points
}

// ShareMounts lets mounts that the kubelet makes show in the containers, and
// the other way round. The kernel's default is private; systemd's is shared.
func ShareMounts() error {
	mounts, err := Mounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.Point == "/" && m.Shared {
			return nil
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making / shared: %w", err)
	}
	return nil
}

// UnshareMounts makes private again what was not shared before.
func (b *Before) UnshareMounts() error {
	for _, m := range b.SharedMounts {
		if m.Point == "/" {
			return nil // ShareMounts did nothing
		}
	}
	// All at once, because a mount that another hides cannot be named.
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making / private: %w", err)
	}
	now, err := Mounts()
	if err != nil {
		return err
	}
	for _, m := range b.SharedMounts {
		if !onTop(now, m) {
			continue
		}
		if err := unix.Mount("", m.Point, "", unix.MS_SHARED, ""); err != nil {
			return fmt.Errorf("making %s shared: %w", m.Point, err)
		}
	}
	return nil
}

// onTop says whether a mount is still there, and is the one its path leads to.
func onTop(mounts []Mount, m Mount) bool {
	top := -1
	for _, o := range mounts {
		if o.Point == m.Point {
			top = o.ID
		}
	}
	return top == m.ID
}

// UnmountBelow takes away every mount under a folder. It is an error if one
// remains, so that nobody deletes through it.
func UnmountBelow(folder string) error {
	var last error
	for range 5 { // mounts may lie on top of each other
		mounts, err := Mounts()
		if err != nil {
			return err
		}
		points := below(mounts, folder)
		if len(points) == 0 {
			return nil
		}
		for _, p := range points {
			if err := unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				last = fmt.Errorf("unmounting %s: %w", p, err)
			}
		}
	}
	mounts, err := Mounts()
	if err != nil {
		return err
	}
	if left := below(mounts, folder); len(left) > 0 {
		return fmt.Errorf("%d mounts remain below %s, the first at %s: %w", len(left), folder, left[0], last)
	}
	return nil
}
