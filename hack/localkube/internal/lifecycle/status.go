package lifecycle

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"localkube/internal/config"
	"localkube/internal/layout"
)

// Health of the cluster as a whole; the numbers are `status`'s exit codes.
type Health int

const (
	Running Health = 0
	Partly  Health = 1
	Stopped Health = 3
)

// Status writes a line for each part.
func Status(state layout.State, out io.Writer) (Health, error) {
	running, err := runningParts(state)
	if err != nil {
		return Stopped, err
	}
	parts := config.Parts(config.Settings{State: state})
	fmt.Fprintf(out, "state folder %s\n", state.Root) //nolint:errcheck
	up := 0
	for _, p := range parts {
		proc, ok := running[p.Name]
		if !ok {
			fmt.Fprintf(out, "%-20s down\n", p.Name) //nolint:errcheck
			continue
		}
		up++
		fmt.Fprintf(out, "%-20s up    process %-8d %4d MiB  %s\n", p.Name, proc.PID, residentMiB(proc.PID), state.Log(p.Name)) //nolint:errcheck
	}
	switch up {
	case len(parts):
		return Running, nil
	case 0:
		return Stopped, nil
	default:
		return Partly, nil
	}
}

func residentMiB(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(f[1])
	return pages * os.Getpagesize() >> 20
}
