// gitops-judge runs what Argo CD and Flux run of ours, in the interpreters that they run it in: Lua scripts in
// gopher-lua with the libraries that Argo CD opens, health expressions in Flux's own evaluator of CEL.
//
// It reads objects as JSON from standard input, one after the other, and prints one line of JSON for each. It
// knows nothing of what the scripts should say.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const usage = `usage: gitops-judge health SCRIPT.lua      health of each object, as Argo CD takes it
       gitops-judge discovery SCRIPT.lua   actions that a discovery script offers for each object
       gitops-judge action SCRIPT.lua      each object as an action leaves it
       gitops-judge flux KUSTOMIZATION     health of each object by the Kustomization's spec.healthCheckExprs
       gitops-judge helmrelease            nothing; fails for a HelmRelease with a field that Flux does not know`

type judge func(*unstructured.Unstructured) (any, error)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gitops-judge:", err)
		os.Exit(1)
	}
}

func run(arguments []string, in io.Reader, out io.Writer) error {
	judged, err := judgeOf(arguments)
	if err != nil {
		return err
	}
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var raw json.RawMessage
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// Through the library's own decoder: whole numbers become int64, as they come from the API server.
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(raw); err != nil {
			return err
		}
		verdict, err := judged(&object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if err := encoder.Encode(verdict); err != nil {
			return err
		}
	}
}

func judgeOf(arguments []string) (judge, error) {
	if len(arguments) == 1 && arguments[0] == "helmrelease" {
		return checkHelmRelease, nil
	}
	if len(arguments) != 2 {
		return nil, errors.New(usage)
	}
	text, err := os.ReadFile(arguments[1])
	if err != nil {
		return nil, err
	}
	switch arguments[0] {
	case "health":
		return luaHealth(string(text)), nil
	case "discovery":
		return luaTable(string(text)), nil
	case "action":
		return luaAction(string(text)), nil
	case "flux":
		return fluxHealth(text)
	}
	return nil, errors.New(usage)
}
