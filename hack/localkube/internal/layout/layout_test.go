package layout

import (
	"strings"
	"testing"
)

func TestStateFoldersThatCannotWorkAreRefused(t *testing.T) {
	for _, root := range []string{"/", "/" + strings.Repeat("x", maxRoot)} {
		if s, err := NewState(root); err == nil {
			t.Errorf("%q is taken: %+v", root, s)
		}
	}
}

// The kernel allows 107 bytes; the longest socket is the kubelet's device manager's.
func TestTheLongestStateFolderLeavesRoomForSockets(t *testing.T) {
	s, err := NewState("/" + strings.Repeat("x", maxRoot-1))
	if err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{s.ContainerdSocket() + ".ttrpc", s.Kubelet() + "/pod-resources/kubelet.sock"} {
		if len(socket) > 107 {
			t.Errorf("%d bytes: %s", len(socket), socket)
		}
	}
}

func TestTheEnvironmentChoosesTheStateFolder(t *testing.T) {
	t.Setenv(EnvState, "/some/where/")
	if s, err := FromEnvironment(); err != nil || s.Root != "/some/where" {
		t.Errorf("%+v, %v", s, err)
	}
	t.Setenv(EnvState, "")
	t.Setenv("HOME", "/home/me")
	if s, err := FromEnvironment(); err != nil || s.Root != "/home/me/.cache/sd-operator/localkube-state" {
		t.Errorf("%+v, %v", s, err)
	}
}
