// Which images a marketplace sees in a manifest, and how it replaces them.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/reference"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/filters/fsslice"
	"sigs.k8s.io/kustomize/api/image"
	"sigs.k8s.io/kustomize/api/krusty"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// Where a Repository's imageOverride looks, in objects of any kind but CustomResourceDefinition. The administrator of
// the marketplace can set other places, separated by colons, in this variable of its environment.
const pathsVariable = "IMAGEOVERRIDE_PATH"

var defaultPaths = []string{
	"spec/containers/image", "spec/initContainers/image",
	"spec/template/spec/containers/image", "spec/template/spec/initContainers/image",
}

// imagesOf lists the images that a marketplace finds, sorted: those of five kinds, ephemeral containers left out.
func imagesOf(manifest string) ([]string, error) {
	found := []string{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			slices.Sort(found)
			return slices.Compact(found), nil
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) == 0 {
			continue
		}
		pod, err := podSpec(&object)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		for _, container := range slices.Concat(pod.Containers, pod.InitContainers) {
			found = append(found, container.Image)
		}
	}
}

func podSpec(object *unstructured.Unstructured) (corev1.PodSpec, error) {
	kind := object.GroupVersionKind()
	convert := func(into any) error {
		return runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into)
	}
	switch kind.Group + "/" + kind.Kind {
	case "/Pod":
		var typed corev1.Pod
		err := convert(&typed)
		return typed.Spec, err
	case "apps/Deployment":
		var typed appsv1.Deployment
		err := convert(&typed)
		return typed.Spec.Template.Spec, err
	case "apps/StatefulSet":
		var typed appsv1.StatefulSet
		err := convert(&typed)
		return typed.Spec.Template.Spec, err
	case "batch/Job":
		var typed batchv1.Job
		err := convert(&typed)
		return typed.Spec.Template.Spec, err
	case "batch/CronJob":
		var typed batchv1.CronJob
		err := convert(&typed)
		return typed.Spec.JobTemplate.Spec.Template.Spec, err
	}
	return corev1.PodSpec{}, nil
}

// imageRewrite is the post-renderer of every installation, also of one that replaces nothing: a manifest that
// kustomize refuses is not installed.
type imageRewrite struct {
	images    []kustomize.Image
	overrides []imageOverride
}

func (w imageRewrite) Run(manifest *bytes.Buffer) (*bytes.Buffer, error) {
	const resources = "manifest.yaml"
	settings, err := sigsyaml.Marshal(kustomize.Kustomization{
		TypeMeta:  kustomize.TypeMeta{APIVersion: kustomize.KustomizationVersion, Kind: kustomize.KustomizationKind},
		Resources: []string{resources},
		Images:    w.images,
	})
	if err != nil {
		return nil, err
	}
	folder := filesys.MakeFsInMemory()
	for name, content := range map[string][]byte{"kustomization.yaml": settings, resources: manifest.Bytes()} {
		if err := folder.WriteFile(name, content); err != nil {
			return nil, err
		}
	}
	options := &krusty.Options{
		LoadRestrictions: kustomize.LoadRestrictionsNone, PluginConfig: kustomize.DisabledPluginConfig(),
	}
	built, err := krusty.MakeKustomizer(options).Run(folder, ".")
	if err != nil {
		return nil, err
	}
	if len(w.overrides) > 0 {
		if err := built.ApplyFilter(w); err != nil {
			return nil, err
		}
	}
	content, err := built.AsYaml()
	return bytes.NewBuffer(content), err
}

// Filter applies the Repository's imageOverride, after the plan's own images.
func (w imageRewrite) Filter(nodes []*kyaml.RNode) ([]*kyaml.RNode, error) {
	paths := defaultPaths
	if given := os.Getenv(pathsVariable); given != "" {
		paths = strings.Split(given, ":")
	}
	fields := make(kustomize.FsSlice, len(paths))
	for i, path := range paths {
		fields[i] = kustomize.FieldSpec{Path: path}
	}
	for _, node := range nodes {
		if node.GetKind() == "CustomResourceDefinition" {
			continue
		}
		if err := node.PipeE(fsslice.Filter{FsSlice: fields, SetValue: w.replace}); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

func (w imageRewrite) replace(node *kyaml.RNode) error {
	if err := kyaml.ErrorIfInvalid(node, kyaml.ScalarNode); err != nil {
		return err
	}
	value := node.YNode().Value
	if !image.IsImageMatched(value, ".*?") {
		return nil
	}
	if replaced := replaceRegistry(value, w.overrides); replaced != value {
		return node.PipeE(kyaml.FieldSetter{StringValue: replaced})
	}
	return nil
}

// replaceRegistry leaves what is no reference to an image, and what no rule is for, as it is. Where several rules are
// for one image, the last that names a registry and the last that names a path count.
func replaceRegistry(value string, overrides []imageOverride) string {
	named, err := reference.ParseNormalizedNamed(value)
	if err != nil {
		return value
	}
	registry, folder, name := reference.Domain(named), "", reference.Path(named)
	if cut := strings.LastIndex(name, "/"); cut >= 0 {
		folder, name = name[:cut], name[cut+1:]
	}
	// The image's own name with its tag and digest; without both it gets the tag latest.
	last := name + strings.TrimPrefix(reference.TagNameOnly(named).String(), named.Name())
	newRegistry, newFolder, hit := registry, folder, false
	for _, rule := range overrides {
		if rule.Registry != registry {
			continue
		}
		if rule.NewRegistry != "" {
			newRegistry, hit = rule.NewRegistry, true
		}
		if path := rule.PathOverride; path != nil && path.Path == folder {
			newFolder, hit = path.NewPath, true
		}
	}
	if !hit {
		return value
	}
	parts := slices.DeleteFunc([]string{newRegistry, newFolder, last}, func(part string) bool { return part == "" })
	return strings.Join(parts, "/")
}
