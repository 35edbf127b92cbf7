package host

import (
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inOwnNetwork runs the rest of the test in a network namespace of its own.
// The thread is never unlocked, so the runtime throws it away with it.
func inOwnNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs root: %v", err)
	}
	for _, tool := range []string{"ip", "nft", "iptables"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	var lines []string
	for _, l := range strings.Split(string(out), "\n") {
		if !strings.HasPrefix(l, "#") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

func do(t *testing.T, line string) {
	t.Helper()
	f := strings.Fields(line)
	output(t, f[0], f[1:]...)
}

// look says what there is of links, routes and rules.
func look(t *testing.T) string {
	t.Helper()
	return output(t, "ip", "-o", "link") + output(t, "ip", "route", "show", "table", "all") +
		output(t, "nft", "list", "ruleset") + output(t, "iptables-save")
}

func captureRules(t *testing.T) *Before {
	t.Helper()
	b := &Before{Chains: OwnChains(output(t, "iptables-save"), nil)}
	var err error
	if b.Tables, err = tables(); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnEmptyNetworkIsEmptyAgainAfterwards(t *testing.T) {
	inOwnNetwork(t)
	before, b := look(t), captureRules(t)
	for range 2 { // a second time changes nothing
		if err := NetworkUp(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(LinksExist(), []string{"lk0"}) {
		t.Error(LinksExist())
	}
	if n := strings.Count(output(t, "iptables-save"), "-j LOCALKUBE-FORWARD"); n != 1 {
		t.Errorf("%d jumps to the chain", n)
	}
	// As kube-proxy and the CNI plugins do.
	for _, line := range []string{
		"iptables -t nat -N KUBE-SERVICES", "iptables -t nat -A PREROUTING -j KUBE-SERVICES", "iptables -t mangle -N KUBE-CANARY",
		"iptables -t nat -N CNI-HOSTPORT", "iptables -t nat -A KUBE-SERVICES -j CNI-HOSTPORT",
		"ip link add lkbr0 type bridge", "ip link add veth1 type veth peer name veth2", "ip link set veth1 master lkbr0",
	} {
		do(t, line)
	}
	if err := NetworkDown(); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveRules(); err != nil {
		t.Fatal(err)
	}
	if after := look(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestAnotherFirewallIsLeftAsItWas(t *testing.T) {
	inOwnNetwork(t)
	for _, line := range []string{
		"iptables -P FORWARD DROP", "iptables -N DOCKER-USER", "iptables -A FORWARD -j DOCKER-USER",
		"iptables -t nat -N CNI-theirs", "iptables -t nat -A POSTROUTING -j CNI-theirs", "nft add table inet theirs",
	} {
		do(t, line)
	}
	before, b := look(t), captureRules(t)
	if err := NetworkUp(); err != nil {
		t.Fatal(err)
	}
	do(t, "iptables -t nat -N KUBE-SERVICES")
	do(t, "iptables -t nat -I POSTROUTING -j KUBE-SERVICES")
	if err := NetworkDown(); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveRules(); err != nil {
		t.Fatal(err)
	}
	if after := look(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
