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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strictjson "sigs.k8s.io/json"
	kustomize "sigs.k8s.io/kustomize/api/types"
)

const (
	apiVersion       = "core.kubebb.k8s.com.cn/v1alpha1"
	defaultValuesKey = "values.yaml"
)

// A Subscription is read as the plan that it writes.
type componentPlan struct {
	Namespace string
	Spec      installation
}

// resource has every field that the API has, so that another is a mistake.
type resource[Spec any] struct {
	metav1.TypeMeta
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     Spec              `json:"spec"`
	Status   json.RawMessage   `json:"status"`
}

type planSpec struct {
	installation
	Version  string `json:"version"`
	Approved bool   `json:"approved"`
}

type subscriptionSpec struct {
	installation
	Repository                 corev1.ObjectReference `json:"repository"`
	ComponentPlanInstallMethod string                 `json:"componentPlanInstallMethod"`
	Schedule                   string                 `json:"schedule"`
}

type installation struct {
	Name                     string   `json:"name"`
	Override                 override `json:"override"`
	DisableHooks             bool     `json:"disableHooks"`
	DisableOpenAPIValidation bool     `json:"disableOpenAPIValidation"`
	SkipCRDs                 bool     `json:"skipCRDs"`

	// What follows changes nothing of what is rendered.
	Component        corev1.ObjectReference `json:"component"`
	Description      string                 `json:"description"`
	Creator          string                 `json:"creator"`
	TimeoutSeconds   int                    `json:"timeoutSeconds"`
	HistoryMax       int                    `json:"historyMax"`
	MaxRetry         *int64                 `json:"maxRetry"`
	Force            bool                   `json:"force"`
	Wait             bool                   `json:"wait"`
	WaitForJobs      bool                   `json:"waitForJobs"`
	DependencyUpdate bool                   `json:"dependencyUpdate"`
	Atomic           bool                   `json:"atomic"`
	EnableDNS        bool                   `json:"enableDNS"`
	CleanupOnFail    bool                   `json:"cleanupOnFail"`
	KeepHistory      bool                   `json:"keepHistory"`
	RecreatePods     bool                   `json:"recreatePods"`
}

type override struct {
	Values     json.RawMessage   `json:"values"`
	ValuesFrom []valuesReference `json:"valuesFrom"`
	Set        []string          `json:"set"`
	SetString  []string          `json:"set-string"`
	Images     []kustomize.Image `json:"images"`
}

type valuesReference struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	ValuesKey string `json:"valuesKey"`
	// In kubebb's API, and read by nothing there.
	TargetPath string `json:"targetPath"`
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
	plan, err := decodePlan(objects[0])
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", planPath, err)
	}
	more := &surroundings{data: map[valuesReference][]byte{}}
	if morePath == "" {
		return plan, more, nil
	}
	objects, err = readObjects(morePath)
	for _, object := range objects {
		if err := more.add(object); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", morePath, err)
		}
	}
	return plan, more, err
}

// decodePlan refuses fields that the API does not have, as the API server does when kubectl asks it to be strict.
func decodePlan(raw json.RawMessage) (*componentPlan, error) {
	var head metav1.TypeMeta
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, err
	}
	if head.APIVersion != apiVersion {
		return nil, fmt.Errorf("apiVersion is %q, not %s", head.APIVersion, apiVersion)
	}
	var plan componentPlan
	var err error
	switch head.Kind {
	case "ComponentPlan":
		var read resource[planSpec]
		err = decodeStrictly(raw, &read)
		plan = componentPlan{read.Metadata.Namespace, read.Spec.installation}
	case "Subscription":
		var read resource[subscriptionSpec]
		err = decodeStrictly(raw, &read)
		plan = componentPlan{read.Metadata.Namespace, read.Spec.installation}
	default:
		return nil, fmt.Errorf("kind is %q, not ComponentPlan or Subscription", head.Kind)
	}
	if err != nil {
		return nil, err
	}
	if plan.Spec.Name == "" || plan.Namespace == "" {
		return nil, errors.New("spec.name (the release) and metadata.namespace are needed")
	}
	for i, image := range plan.Spec.Override.Images {
		if image.Name == "" {
			return nil, fmt.Errorf("spec.override.images[%d].name is needed", i)
		}
	}
	return &plan, nil
}

func decodeStrictly(raw json.RawMessage, into any) error {
	strict, err := strictjson.UnmarshalStrict(raw, into, strictjson.DisallowUnknownFields)
	return errors.Join(err, errors.Join(strict...))
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
		s.data[valuesReference{Kind: object.Kind, Name: object.Metadata.Name, ValuesKey: key}] = content
	}
	for key, content := range texts {
		s.data[valuesReference{Kind: object.Kind, Name: object.Metadata.Name, ValuesKey: key}] = []byte(content)
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
		reference.TargetPath = ""
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
