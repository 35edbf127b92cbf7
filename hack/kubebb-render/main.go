// kubebb-render shows what a marketplace in kubebb's style makes of a chart, without a cluster.
//
// It does what kubebb's core does, with the libraries and versions that it does it with (helm.sh/helm/v3 v3.9.4 and
// kustomize's api v0.11.4), and knows nothing of this project's charts. What needs a cluster it leaves out: whether
// objects exist already, and their differences.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

const usage = `usage:
  kubebb-render catalogue CHART
      what the marketplace shows of a version of a chart before anybody installs it
  kubebb-render plan CHART PLAN [MORE]
      what a ComponentPlan or Subscription (file PLAN) would install the first time; MORE is a file with the
      Repository, for its imageOverride, and with the ConfigMaps and Secrets that override.valuesFrom names
  kubebb-render pull URL CHART VERSION FOLDER
      reads a chart repository (http index) as a watcher does, or oci://… of one chart, and unpacks the chart
  kubebb-render push ARCHIVE URL
      sends a chart's archive to oci://…
CHART is a folder or an archive, or, for pull, a name. Everything is printed as JSON.`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kubebb-render:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	found, err := dispatch(args)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(found)
}

func dispatch(args []string) (any, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("no command\n%s", usage)
	}
	switch command, rest := args[0], args[1:]; {
	case command == "catalogue" && len(rest) == 1:
		return renderCatalogue(rest[0])
	case command == "plan" && len(rest) == 2:
		return renderPlan(rest[0], rest[1], "")
	case command == "plan" && len(rest) == 3:
		return renderPlan(rest[0], rest[1], rest[2])
	case command == "pull" && len(rest) == 4:
		return pull(rest[0], rest[1], rest[2], rest[3])
	case command == "push" && len(rest) == 2:
		return push(rest[0], rest[1])
	}
	return nil, fmt.Errorf("%q is no command with %d arguments\n%s", args[0], len(args)-1, usage)
}
