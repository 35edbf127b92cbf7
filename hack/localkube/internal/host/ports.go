package host

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// socket is a listening socket in the kernel's tables.
type socket struct {
	ip    net.IP
	port  int
	inode string
}

const (
	tcpListen = "0A"
	udpBound  = "07"
)

// PortUser says who listens where a part wants to; empty when nobody does.
func PortUser(network, address string, port int) string {
	for _, suffix := range []string{"", "6"} {
		text, err := os.ReadFile("/proc/net/" + network + suffix)
		if err != nil {
			continue
		}
		for _, s := range parseSockets(string(text)) {
			if s.port == port && (s.ip.IsUnspecified() || s.ip.Equal(net.ParseIP(address)) || address == "0.0.0.0") {
				return owner(s.inode)
			}
		}
	}
	return ""
}

// parseSockets reads the listening sockets from the text of /proc/net/tcp,
// udp, tcp6 or udp6: addresses are hex, each 32-bit word in the byte order of
// the machine (little endian on all that matter).
func parseSockets(text string) []socket {
	var out []socket
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 10 || (f[3] != tcpListen && f[3] != udpBound) {
			continue
		}
		host, port, ok := strings.Cut(f[1], ":")
		raw, err := hex.DecodeString(host)
		p, perr := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil || perr != nil || len(raw)%4 != 0 {
			continue
		}
		for i := 0; i < len(raw); i += 4 {
			slices.Reverse(raw[i : i+4])
		}
		out = append(out, socket{net.IP(raw), int(p), f[9]})
	}
	return out
}

// owner names the process that holds a socket.
func owner(inode string) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == "socket:["+inode+"]" {
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
		}
	}
	return "an unknown process"
}
