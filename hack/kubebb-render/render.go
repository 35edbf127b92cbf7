// How charts are rendered: as an installation that asks no cluster, with Helm's built-in capabilities.
package main

import (
	"fmt"
	"os"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/cli"
	"helm.sh/helm/v3/pkg/cli/values"
	"helm.sh/helm/v3/pkg/getter"
	"helm.sh/helm/v3/pkg/postrender"
	"helm.sh/helm/v3/pkg/release"
)

// The release's name where nobody has chosen one yet.
const catalogueRelease = "release-name"

// rendered is what a marketplace gets: only objects of the manifest are looked through for images. Hooks (and so the
// pods of `helm test`) are no part of it, and no override of images reaches them.
type rendered struct {
	KubeVersion string   `json:"kubeVersion"`
	Manifest    string   `json:"manifest"`
	Hooks       []string `json:"hooks"`
	Notes       string   `json:"notes"`
	Images      []string `json:"images"`
}

// renderCatalogue renders with the chart's own values, for the list of images beside a version.
func renderCatalogue(chartPath string) (*rendered, error) {
	install := newInstall(catalogueRelease, "default")
	install.DisableHooks = true
	install.DisableOpenAPIValidation = true
	install.SkipCRDs = true
	return render(install, chartPath, &values.Options{})
}

// renderPlan renders the first installation of a plan, before somebody approves it.
func renderPlan(chartPath, planPath, morePath string) (*rendered, error) {
	plan, more, err := readPlan(planPath, morePath)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "kubebb-render-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	options, err := plan.valuesOptions(more, folder)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", planPath, err)
	}
	install := newInstall(plan.Spec.Name, plan.Namespace)
	install.DisableHooks = plan.Spec.DisableHooks
	install.DisableOpenAPIValidation = plan.Spec.DisableOpenAPIValidation
	install.SkipCRDs = plan.Spec.SkipCRDs
	install.PostRenderer = imageRewrite{images: plan.Spec.Override.Images, overrides: more.imageOverride}
	return render(install, chartPath, options)
}

func newInstall(name, namespace string) *action.Install {
	install := action.NewInstall(&action.Configuration{Log: func(string, ...interface{}) {}})
	install.ReleaseName, install.Namespace = name, namespace
	install.DryRun, install.ClientOnly, install.Replace = true, true, true
	return install
}

func render(install *action.Install, chartPath string, options *values.Options) (*rendered, error) {
	overrides, err := options.MergeValues(getter.All(cli.New()))
	if err != nil {
		return nil, err
	}
	loaded, err := loader.Load(chartPath)
	if err != nil {
		return nil, err
	}
	if kind := loaded.Metadata.Type; kind != "" && kind != "application" {
		return nil, fmt.Errorf("%s: charts of type %s cannot be installed, only those of type application", chartPath, kind)
	}
	if err := action.CheckDependencies(loaded, loaded.Metadata.Dependencies); err != nil {
		return nil, err
	}
	made, err := install.Run(loaded, overrides)
	if err != nil {
		return nil, err
	}
	return describe(made)
}

func describe(made *release.Release) (*rendered, error) {
	images, err := imagesOf(made.Manifest)
	if err != nil {
		return nil, err
	}
	found := &rendered{
		KubeVersion: chartutil.DefaultCapabilities.KubeVersion.String(),
		Manifest:    made.Manifest,
		Hooks:       []string{},
		Notes:       made.Info.Notes,
		Images:      images,
	}
	for _, hook := range made.Hooks {
		found.Hooks = append(found.Hooks, hook.Manifest)
	}
	return found, nil
}

var _ postrender.PostRenderer = imageRewrite{}
