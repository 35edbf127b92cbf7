package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"localkube/internal/layout"
)

// forwardRules keep the pods' traffic on this machine: they reach each other
// and the node, nothing else reaches them.
const forwardRules = `table inet ` + layout.NFTTable + `
delete table inet ` + layout.NFTTable + `
table inet ` + layout.NFTTable + ` {
  chain forward {
    type filter hook forward priority -10; policy accept;
    iifname "` + layout.PodBridge + `" oifname != { "` + layout.PodBridge + `", "` + layout.NodeLink + `" } reject
    oifname "` + layout.PodBridge + `" iifname != { "` + layout.PodBridge + `", "` + layout.NodeLink + `" } drop
  }
}
`

// NetworkUp makes the node's link, its routes and the forward rules.
func NetworkUp() error {
	if !linkExists(layout.NodeLink) {
		// A bridge with no ports: not every kernel has the `dummy` type.
		if err := run("", "ip", "link", "add", layout.NodeLink, "type", "bridge"); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"addr", "replace", layout.NodeIP + "/32", "dev", layout.NodeLink},
		{"link", "set", layout.NodeLink, "up"},
		// So that service and pod addresses never leave by the default route,
		// not even while kube-proxy or the pods' bridge is not there.
		{"route", "replace", layout.ServiceCIDR, "dev", layout.NodeLink, "src", layout.NodeIP},
		{"route", "replace", layout.PodCIDR, "dev", layout.NodeLink, "metric", "5000"},
	} {
		if err := run("", "ip", args...); err != nil {
			return err
		}
	}
	if err := run(forwardRules, "nft", "-f", "-"); err != nil {
		return err
	}
	return acceptForwarding()
}

// NetworkDown removes the links (and with them addresses and routes) and the
// forward rules.
func NetworkDown() error {
	var errs []error
	if linkExists(layout.PodBridge) {
		ports, err := bridgePorts(layout.PodBridge)
		errs = append(errs, err)
		for _, p := range ports {
			// Most vanish by themselves while their pod's namespace goes.
			if err := run("", "ip", "link", "del", p); err != nil && linkExists(p) {
				errs = append(errs, err)
			}
		}
	}
	for _, l := range []string{layout.PodBridge, layout.NodeLink} {
		if linkExists(l) {
			errs = append(errs, run("", "ip", "link", "del", l))
		}
	}
	now, err := tables()
	errs = append(errs, err)
	for _, t := range now {
		if t == "inet "+layout.NFTTable {
			errs = append(errs, run("", "nft", "delete", "table", "inet", layout.NFTTable))
		}
	}
	return errors.Join(errs...)
}

// LinksExist names those of the cluster's links that are there.
func LinksExist() []string {
	var found []string
	for _, l := range []string{layout.NodeLink, layout.PodBridge} {
		if linkExists(l) {
			found = append(found, l)
		}
	}
	return found
}

func linkExists(name string) bool {
	return exec.Command("ip", "link", "show", "dev", name).Run() == nil
}

func bridgePorts(bridge string) ([]string, error) {
	out, err := exec.Command("ip", "-json", "link", "show", "master", bridge).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the ports of %s: %w", bridge, err)
	}
	return parseLinks(out)
}

func parseLinks(text []byte) ([]string, error) {
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, nil
	}
	var links []struct {
		Name string `json:"ifname"`
	}
	if err := json.Unmarshal(text, &links); err != nil {
		return nil, err
	}
	var names []string
	for _, l := range links {
		if l.Name != "" {
			names = append(names, l.Name)
		}
	}
	return names, nil
}
