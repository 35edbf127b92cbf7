package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"localkube/internal/layout"
	"localkube/internal/process"
)

// lock is held while a call changes the cluster; the kernel lets go of it
// when the process ends, however it does.
type lock struct{ f *os.File }

// acquire takes the lock of a state folder for a verb. A `down` does not wait
// for an `up` to finish: it asks it to stop.
func acquire(ctx context.Context, state layout.State, verb string, say *Progress) (*lock, error) {
	if err := os.MkdirAll(state.Root, 0o755); err != nil {
		return nil, err
	}
	told := false
	for {
		l, err := tryLock(state, verb)
		if l != nil || err != nil {
			return l, err
		}
		holder, doing := readHolder(state)
		if !told {
			told = true
			say.Note("another `localkube %s` (process %d) is at work: waiting for it", doing, holder.PID)
			if verb == "down" && doing == "up" {
				if err := holder.Signal(unix.SIGTERM); err != nil {
					return nil, err
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func tryLock(state layout.State, verb string) (*lock, error) {
	f, err := os.OpenFile(state.Lock(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close() //nolint:errcheck
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %w", state.Lock(), err)
	}
	// `down --all` removes the file while it holds it: then this lock is of a
	// file that nobody else will find.
	mine, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if there, err := os.Stat(state.Lock()); err != nil || !os.SameFile(mine, there) {
		f.Close() //nolint:errcheck
		return nil, nil
	}
	self, err := process.Self()
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(f, "%d %d %s\n", self.PID, self.Start, verb)
	return &lock{f}, err
}

// release lets the next one in.
func (l *lock) release() { l.f.Close() } //nolint:errcheck

func readHolder(state layout.State) (id process.Identity, verb string) {
	text, _ := os.ReadFile(state.Lock())
	fmt.Sscanf(strings.TrimSpace(string(text)), "%d %d %s", &id.PID, &id.Start, &verb) //nolint:errcheck // unknown: zero
	return id, verb
}
