package host

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const mountinfo = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:50 / /s/run/a\040b rw shared:2 master:1 - overlay overlay rw
41 40 0:51 / /s/run/a\040b/deep rw master:1 propagate_from:1 - tmpfs tmpfs rw
42 27 0:52 / /somewhere rw - tmpfs tmpfs rw
43 27 0:53 / /s/run rw - tmpfs tmpfs rw
garbage
`

func TestMountsAreReadWithTheirPropagation(t *testing.T) {
	got := parseMounts(mountinfo)
	if len(got) != 6 {
		t.Fatalf("%+v", got)
	}
	if !got[1].Shared || got[1].ID != 27 || got[0].Shared || got[3].Shared || got[2].Point != "/s/run/a b" || got[2].Type != "overlay" {
		t.Errorf("%+v", got)
	}
}

func TestOnlyMountsBelowTheFolderAreTakenDeepestFirst(t *testing.T) {
	got := below(parseMounts(mountinfo), "/s")
	if !slices.Equal(got, []string{"/s/run/a b/deep", "/s/run/a b", "/s/run"}) {
		t.Errorf("%q", got)
	}
}

func TestAMountUnderAnotherIsNotTakenForIt(t *testing.T) {
	mounts := []Mount{{ID: 1, Point: "/dev/shm"}, {ID: 2, Point: "/dev/shm"}}
	if onTop(mounts, mounts[0]) || !onTop(mounts, mounts[1]) || onTop(nil, mounts[1]) {
		t.Error("wrong one")
	}
}

const save = `# Generated
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:CNI-DN-theirs - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:MINE - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -p tcp -m comment --comment "not KUBE-SERVICES" -j MINE
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-A
-A MINE -j CNI-DN-theirs
COMMIT
*filter
:INPUT DROP [0:0]
:MINE - [0:0]
-A INPUT -j MINE
COMMIT
`

func TestRemovalTakesTheClustersRulesAndNoOthers(t *testing.T) {
	want := `*nat
-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-D OUTPUT -j KUBE-SERVICES
-F KUBE-SERVICES
-F KUBE-SVC-A
-X KUBE-SERVICES
-X KUBE-SVC-A
COMMIT
`
	if got := removal(save, []string{"nat CNI-DN-theirs"}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestNothingToRemoveIsNoScript(t *testing.T) {
	if got := removal("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n", nil); got != "" {
		t.Error(got)
	}
}

func TestOnlyTablesWithoutAnyEffectAreIdle(t *testing.T) {
	text := "*mangle\n:INPUT ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT DROP [0:0]\nCOMMIT\n*nat\n:X - [0:0]\nCOMMIT\n*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j LOG\nCOMMIT\n"
	if got := idle(text); !slices.Equal(got, []string{"mangle"}) {
		t.Errorf("%q", got)
	}
}

func TestListeningSocketsAreReadFromTheKernelsTables(t *testing.T) {
	text := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:192C 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1
   2: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 4713 2
`
	got := parseSockets(text)
	if len(got) != 2 || got[0].port != 6443 || !got[0].ip.Equal(net.IPv4(127, 0, 0, 1)) || got[0].inode != "4711" {
		t.Fatalf("%+v", got)
	}
	if got[1].port != 53 || !got[1].ip.Equal(net.IPv6loopback) {
		t.Errorf("%+v", got[1])
	}
}

func TestAPortInUseIsSeenWithItsUser(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck
	port := l.Addr().(*net.TCPAddr).Port
	if who := PortUser("tcp", "127.0.0.1", port); !strings.Contains(who, "host.test") {
		t.Errorf("%q", who)
	}
	if who := PortUser("tcp", "10.1.2.3", port); who != "" {
		t.Errorf("another address's socket is taken for a conflict: %q", who)
	}
}

func TestLinksAreReadFromIPsJSON(t *testing.T) {
	got, err := parseLinks([]byte(`[{"ifname":"veth1","master":"lkbr0"},{"ifname":"veth2"},{}]`))
	if err != nil || !slices.Equal(got, []string{"veth1", "veth2"}) {
		t.Errorf("%q %v", got, err)
	}
	if got, err := parseLinks([]byte("\n")); err != nil || got != nil {
		t.Errorf("%q %v", got, err)
	}
}

func TestBeforeComesBackAsItWasSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "before.json")
	if b, err := LoadBefore(path); b != nil || err != nil {
		t.Fatalf("%+v %v", b, err)
	}
	b := &Before{Boot: "x", Sysctls: map[string]string{"a.b": "1"}, SharedMounts: []Mount{{ID: 7, Point: "/m"}}, Chains: []string{"nat CNI-1"}}
	if err := b.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadBefore(path)
	if err != nil || got.Sysctls["a.b"] != "1" || got.SharedMounts[0].ID != 7 || got.SameBoot() {
		t.Errorf("%+v %v", got, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadBefore(path); err == nil {
		t.Error("half a file is taken")
	}
}

func TestOnlyLinksIntoTheFolderGo(t *testing.T) {
	dir := t.TempDir()
	for name, to := range map[string]string{"ours": "/s/pod-logs/x.log", "theirs": "/var/log/pods/x.log", "near": "/s/pod-logs2/x"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveLinksInto(dir, "/s/pod-logs"); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(dir + "/*")
	if len(left) != 2 {
		t.Errorf("%q", left)
	}
	if err := RemoveLinksInto(dir+"/none", "/s"); err != nil {
		t.Error(err)
	}
}

func TestDottedInterfaceNamesKeepTheirPath(t *testing.T) {
	if got := sysctlPath("net/ipv4/conf/eth0.7/forwarding"); got != "/proc/sys/net/ipv4/conf/eth0.7/forwarding" {
		t.Error(got)
	}
	if got := sysctlPath("net.ipv4.ip_forward"); got != "/proc/sys/net/ipv4/ip_forward" {
		t.Error(got)
	}
}
