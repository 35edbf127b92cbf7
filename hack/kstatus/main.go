// kstatus tells what the library that Flux, Argo CD and kubectl-like tools judge objects by says of some.
//
// It reads JSON from standard input: objects one after the other, lists of them (`kubectl get -o json`), or an
// array. For each it prints one line of JSON with the object's name and the library's status and message.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type judgement struct {
	Name    string `json:"name"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var value any
		if err := decoder.Decode(&value); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		objects, err := flatten(value)
		if err != nil {
			return err
		}
		for _, object := range objects {
			judged, err := judge(object)
			if err != nil {
				return err
			}
			if err := encoder.Encode(judged); err != nil {
				return err
			}
		}
	}
}

// flatten gives the objects in a JSON value: the object itself, a Kubernetes list's items, or an array's.
func flatten(value any) ([]map[string]any, error) {
	if array, ok := value.([]any); ok {
		var found []map[string]any
		for _, item := range array {
			inner, err := flatten(item)
			if err != nil {
				return nil, err
			}
			found = append(found, inner...)
		}
		return found, nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%v is no object", value)
	}
	if items, isList := object["items"].([]any); isList {
		return flatten(items)
	}
	return []map[string]any{object}, nil
}

func judge(object map[string]any) (judgement, error) {
	// Through the library's own decoder: it wants whole numbers as int64, not as float64.
	raw, err := json.Marshal(object)
	if err != nil {
		return judgement{}, err
	}
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(raw); err != nil {
		return judgement{}, err
	}
	result, err := status.Compute(&u)
	if err != nil {
		return judgement{}, fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return judgement{Name: u.GetName(), Status: result.Status.String(), Message: result.Message}, nil
}
