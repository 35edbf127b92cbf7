package images

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// linkTree makes dst the same tree as src: folders anew, all else hard links,
// or copies where the two are on different file systems.
func linkTree(src, dst string) (files int, err error) {
	type folder struct {
		path string
		stat unix.Stat_t
	}
	var folders []folder
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		if !d.IsDir() {
			files++
			return linkFile(path, to)
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if rel != "." {
			if err := os.Mkdir(to, 0o755); err != nil {
				return err
			}
		}
		folders = append(folders, folder{to, st})
		return copyAttributes(path, to, st)
	})
	if err != nil {
		return files, err
	}
	// Times last: filling a folder changes its own. Deepest first.
	for i := len(folders) - 1; i >= 0; i-- {
		if err := setTimes(folders[i].path, folders[i].stat); err != nil {
			return files, err
		}
	}
	return files, nil
}

func linkFile(from, to string) error {
	err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, 0)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) {
		return copyFile(from, to)
	} else if err != nil {
		return fmt.Errorf("linking %s: %w", to, err)
	}
	return nil
}

func copyFile(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if err := copyContents(from, to); err != nil {
			return err
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
	default: // among others overlayfs's whiteouts, which are devices 0:0
		if err := unix.Mknod(to, st.Mode, int(st.Rdev)); err != nil {
			return fmt.Errorf("making %s: %w", to, err)
		}
	}
	if err := copyAttributes(from, to, st); err != nil {
		return err
	}
	return setTimes(to, st)
}

func copyContents(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close() //nolint:errcheck
		return err
	}
	return out.Close()
}

// copyAttributes gives `to` the owner, mode and extended attributes of `from`.
func copyAttributes(from, to string, st unix.Stat_t) error {
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil { // after chown, which clears set-uid
			return err
		}
	}
	size, err := unix.Llistxattr(from, nil)
	if errors.Is(err, unix.ENOTSUP) || size == 0 {
		return nil
	} else if err != nil {
		return err
	}
	buf := make([]byte, size)
	if size, err = unix.Llistxattr(from, buf); err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
		value := make([]byte, 64<<10) // the kernel's limit for one
		n, err := unix.Lgetxattr(from, name, value)
		if err != nil {
			return fmt.Errorf("%s: attribute %s: %w", from, name, err)
		}
		if err := unix.Lsetxattr(to, name, value[:n], 0); err != nil {
			return fmt.Errorf("%s: attribute %s: %w", to, name, err)
		}
	}
	return nil
}

func setTimes(path string, st unix.Stat_t) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
