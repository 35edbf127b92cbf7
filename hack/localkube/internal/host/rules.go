package host

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"localkube/internal/layout"
)

// Chains of kube-proxy and the kubelet begin with KUBE-, those of the CNI
// plugins with CNI-; one is localkube's own.
func ownName(chain string) bool {
	return strings.HasPrefix(chain, "KUBE-") || strings.HasPrefix(chain, "CNI-") || chain == acceptChain
}

const acceptChain = "LOCALKUBE-FORWARD"

// acceptForwarding lets the pods' traffic through where another firewall, such
// as Docker's, drops all that is forwarded and not its own. What must not pass
// has been dropped before, by forwardRules.
func acceptForwarding() error {
	save, err := exec.Command("iptables-save", "-t", "filter").Output()
	if err != nil {
		return fmt.Errorf("iptables-save: %w", err)
	}
	script := "*filter\n:" + acceptChain + " - [0:0]\n" // makes the chain, or empties it
	for _, direction := range []string{"-i", "-o"} {
		script += "-A " + acceptChain + " " + direction + " " + layout.PodBridge + " -j ACCEPT\n"
	}
	jump := "FORWARD -j " + acceptChain
	if !slices.Contains(strings.Split(string(save), "\n"), "-A "+jump) {
		script += "-I " + jump + "\n"
	}
	return run(script+"COMMIT\n", "iptables-restore", "--noflush", "--wait")
}

// OwnChains lists, as "table chain", the chains in the output of iptables-save
// that are the cluster's: by their name, and because they are not in others.
func OwnChains(save string, others []string) []string {
	var found []string
	table := ""
	for _, line := range strings.Split(save, "\n") {
		if t, ok := strings.CutPrefix(line, "*"); ok {
			table = t
		} else if rest, ok := strings.CutPrefix(line, ":"); ok {
			chain, _, _ := strings.Cut(rest, " ")
			if id := table + " " + chain; ownName(chain) && !slices.Contains(others, id) {
				found = append(found, id)
			}
		}
	}
	return found
}

// removal turns the output of iptables-save into the input of
// `iptables-restore --noflush` that takes away the cluster's chains and every
// rule that leads into one, and touches nothing else.
func removal(save string, others []string) string {
	own := OwnChains(save, others)
	if len(own) == 0 {
		return ""
	}
	var out strings.Builder
	table := ""
	var jumps, flushes, deletes []string
	for _, line := range strings.Split(save, "\n") {
		switch {
		case strings.HasPrefix(line, "*"):
			table, jumps, flushes, deletes = line[1:], nil, nil, nil
		case strings.HasPrefix(line, ":"):
			chain, _, _ := strings.Cut(line[1:], " ")
			if slices.Contains(own, table+" "+chain) {
				flushes = append(flushes, "-F "+chain)
				deletes = append(deletes, "-X "+chain)
			}
		case strings.HasPrefix(line, "-A "):
			f := strings.Fields(line)
			leads := slices.ContainsFunc(f[2:], func(w string) bool { return slices.Contains(own, table+" "+w) })
			if leads && !slices.Contains(own, table+" "+f[1]) {
				jumps = append(jumps, "-D "+line[3:])
			}
		case line == "COMMIT" && len(deletes) > 0:
			fmt.Fprintf(&out, "*%s\n%s\nCOMMIT\n", table, strings.Join(slices.Concat(jumps, flushes, deletes), "\n"))
		}
	}
	return out.String()
}

// idle lists the tables in the output of iptables-save that do nothing: no
// rule, no chain of their own, built-in chains that accept.
func idle(save string) []string {
	var found []string
	table, busy := "", false
	for _, line := range strings.Split(save, "\n") {
		switch {
		case strings.HasPrefix(line, "*"):
			table, busy = line[1:], false
		case strings.HasPrefix(line, ":"):
			f := strings.Fields(line)
			busy = busy || len(f) < 2 || f[1] != "ACCEPT"
		case strings.HasPrefix(line, "-"):
			busy = true
		case line == "COMMIT" && !busy:
			found = append(found, table)
		}
	}
	return found
}

// RemoveRules takes away the cluster's firewall rules, and the tables that
// came with them and are empty now.
func (b *Before) RemoveRules() error {
	var errs []error
	for _, tool := range []struct{ name, family string }{{"iptables", "ip"}, {"ip6tables", "ip6"}} {
		save, err := exec.Command(tool.name + "-save").Output()
		if err != nil {
			continue // no such family in this kernel: nothing of ours in it
		}
		if script := removal(string(save), b.Chains); script != "" {
			if err := run(script, tool.name+"-restore", "--noflush", "--wait"); err != nil {
				errs = append(errs, err)
				continue
			}
			if save, err = exec.Command(tool.name + "-save").Output(); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		now, err := tables()
		errs = append(errs, err)
		for _, t := range idle(string(save)) {
			id := tool.family + " " + t
			// Not among nft's tables when iptables is of the old kind.
			if slices.Contains(now, id) && !slices.Contains(b.Tables, id) {
				errs = append(errs, run("", "nft", "delete", "table", tool.family, t))
			}
		}
	}
	return errors.Join(errs...)
}

// KubeChains lists the chains of a Kubernetes cluster, whosever it is.
func KubeChains() []string {
	save, err := exec.Command("iptables-save").Output()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(OwnChains(string(save), nil), func(id string) bool { return !strings.Contains(id, " KUBE-") })
}

// tables lists nftables' tables, "family name".
func tables() ([]string, error) {
	out, err := exec.Command("nft", "list", "tables").Output()
	if err != nil {
		return nil, fmt.Errorf("nft list tables: %w", err)
	}
	var found []string
	for _, line := range strings.Split(string(out), "\n") {
		if t, ok := strings.CutPrefix(line, "table "); ok {
			found = append(found, strings.TrimSpace(t))
		}
	}
	return found, nil
}
