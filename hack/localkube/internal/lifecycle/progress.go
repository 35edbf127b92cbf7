// Package lifecycle brings the cluster up, takes it down and says how it is.
//
// It is the story; what it tells of - processes, the machine's settings,
// configuration, images - is done by the packages beside it.
package lifecycle

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress writes one line a step, with the seconds since the beginning.
type Progress struct {
	out   io.Writer
	begin time.Time
	mu    sync.Mutex
}

// NewProgress starts the clock.
func NewProgress(out io.Writer) *Progress { return &Progress{out: out, begin: time.Now()} }

// Done says that a step is done.
func (p *Progress) Done(format string, args ...any) { p.line("", format, args...) }

// Note says what is being waited for, or something worth knowing.
func (p *Progress) Note(format string, args ...any) { p.line("... ", format, args...) }

func (p *Progress) line(mark, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%6.1fs  %s%s\n", time.Since(p.begin).Seconds(), mark, fmt.Sprintf(format, args...)) //nolint:errcheck
}

const (
	pollEvery    = 100 * time.Millisecond
	sayAfter     = 2 * time.Second // a wait shorter than this needs no line
	sayAgain     = 10 * time.Second
	probeTimeout = 5 * time.Second
)

// wait calls probe until it succeeds. check is asked each time whether there
// is still reason to wait.
func (p *Progress) wait(ctx context.Context, what string, limit time.Duration, check func() error, probe func(context.Context) error) error {
	begin, said := time.Now(), sayAfter
	for {
		probing, cancel := context.WithTimeout(ctx, probeTimeout)
		err := probe(probing)
		cancel()
		if err == nil {
			p.Done("%s", what)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := check(); err != nil {
			return err
		}
		waited := time.Since(begin)
		if waited > limit {
			return fmt.Errorf("waited %.0f s in vain for: %s: %w", limit.Seconds(), what, err)
		}
		if waited > said {
			said += sayAgain
			p.Note("waiting for: %s (up to %.0f s; so far: %v)", what, limit.Seconds(), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}
