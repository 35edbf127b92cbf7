// The fields of a ComponentPlan, Subscription and Repository that change what a chart renders to.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"helm.sh/helm/v3/pkg/cli/values"
	"k8s.io/apimachinery/pkg/util/yaml"
	kustomize "sigs.k8s.io/kustomize/api/types"
)

const defaultValuesKey = "values.yaml"

type componentPlan struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		Name                     string   `json:"name"`
		Override                 override `json:"override"`
		DisableHooks             bool     `json:"disableHooks"`
		DisableOpenAPIValidation bool     `json:"disableOpenAPIValidation"`
		SkipCRDs                 bool     `json:"skipCRDs"`
	} `json:"spec"`
}

type override struct {
	Values     json.RawMessage   `json:"values"`
	ValuesFrom []valuesReference `json:"valuesFrom"`
	Set        []string          `json:"set"`
	SetString  []string          `json:"set-string"`
	Images     []kustomize.Image `json:"images"`
}

// valuesReference has a targetPath too, in kubebb's API: nothing reads it there.
type valuesReference struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	ValuesKey string `json:"valuesKey"`
}

type imageOverride struct {
	Registry     string `json:"registry"`
	NewRegistry  string `json:"newRegistry"`
	PathOverride *struct {
		Path    string `json:"path"`
		NewPath string `json:"newPath"`
	} `json:"pathOverride"`
}

// surroundings are what a plan finds in the cluster.
type surroundings struct {
	imageOverride []imageOverride
	// By kind, name and key.
	data map[valuesReference][]byte
}

func readPlan(planPath, morePath string) (*componentPlan, *surroundings, error) {
	objects, err := readObjects(planPath)
	if err != nil {
		return nil, nil, err
	}
	if len(objects) != 1 {
		return nil, nil, fmt.Errorf("%s: has %d objects, not one ComponentPlan or Subscription", planPath, len(objects))
	}
	var plan componentPlan
	if err := json.Unmarshal(objects[0], &plan); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", planPath, err)
	}
	if plan.Kind != "ComponentPlan" && plan.Kind != "Subscription" {
		return nil, nil, fmt.Errorf("%s: kind is %q, not ComponentPlan or Subscription", planPath, plan.Kind)
	}
	if plan.Spec.Name == "" || plan.Metadata.Namespace == "" {
		return nil, nil, fmt.Errorf("%s: spec.name (the release) and metadata.namespace are needed", planPath)
	}
	more := &surroundings{data: map[valuesReference][]byte{}}
	if morePath == "" {
		return &plan, more, nil
	}
	objects, err = readObjects(morePath)
	for _, object := range objects {
		if err := more.add(object); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", morePath, err)
		}
	}
	return &plan, more, err
}

func readObjects(path string) ([]json.RawMessage, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found []json.RawMessage
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		var object json.RawMessage
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if trimmed := bytes.TrimSpace(object); len(trimmed) > 0 && !bytes.Equal(trimmed, []byte("null")) {
			found = append(found, object)
		}
	}
}

func (s *surroundings) add(raw json.RawMessage) error {
	var object struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Data       json.RawMessage   `json:"data"`
		BinaryData map[string][]byte `json:"binaryData"`
		Spec       struct {
			ImageOverride []imageOverride `json:"imageOverride"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return err
	}
	texts, encoded := map[string]string{}, object.BinaryData
	var err error
	switch object.Kind {
	case "Repository":
		s.imageOverride = append(s.imageOverride, object.Spec.ImageOverride...)
	case "ConfigMap":
		if object.Data != nil {
			err = json.Unmarshal(object.Data, &texts)
		}
	case "Secret":
		if object.Data != nil {
			err = json.Unmarshal(object.Data, &encoded)
		}
	default:
		return fmt.Errorf("kind %q is none of Repository, ConfigMap and Secret", object.Kind)
	}
	for key, content := range encoded {
		s.data[valuesReference{object.Kind, object.Metadata.Name, key}] = content
	}
	for key, content := range texts {
		s.data[valuesReference{object.Kind, object.Metadata.Name, key}] = []byte(content)
	}
	return err
}

// valuesOptions gives values in the order in which they win: each wins over those before it.
func (p *componentPlan) valuesOptions(more *surroundings, folder string) (*values.Options, error) {
	given := p.Spec.Override
	options := &values.Options{Values: given.Set, StringValues: given.SetString}
	add := func(content []byte) error {
		path := filepath.Join(folder, fmt.Sprintf("%d.yaml", len(options.ValueFiles)))
		options.ValueFiles = append(options.ValueFiles, path)
		return os.WriteFile(path, content, 0o600)
	}
	for _, reference := range given.ValuesFrom {
		if reference.ValuesKey == "" {
			reference.ValuesKey = defaultValuesKey
		}
		content := more.data[reference]
		if len(content) == 0 {
			return nil, fmt.Errorf("override.valuesFrom: no %s %s with data at the key %s",
				reference.Kind, reference.Name, reference.ValuesKey)
		}
		if err := add(content); err != nil {
			return nil, err
		}
	}
	if given.Values != nil {
		return options, add(given.Values)
	}
	return options, nil
}
