// How charts come from a chart repository (an index.yaml on a web server) or a registry, and get there.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/cli"
	"helm.sh/helm/v3/pkg/getter"
	"helm.sh/helm/v3/pkg/helmpath"
	"helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/repo"
	"sigs.k8s.io/yaml"
)

const (
	repositoryName = "default.marketplace"
	displayName    = "core.kubebb.k8s.com.cn/displayname"
)

// component is what a watcher writes of a chart. All but the versions are those of the first entry of the index.
type component struct {
	Name        string    `json:"name"`
	DisplayName string    `json:"displayName"`
	Description string    `json:"description"`
	Icon        string    `json:"icon"`
	Home        string    `json:"home"`
	Keywords    []string  `json:"keywords"`
	Versions    []version `json:"versions"`
}

type version struct {
	Version    string `json:"version"`
	AppVersion string `json:"appVersion"`
	Digest     string `json:"digest"`
}

type pulled struct {
	Components []component `json:"components"`
	Chart      string      `json:"chart"`
	// Of a registry: the digest of the chart's manifest.
	Digest string `json:"digest"`
}

// pull reads with Helm's settings from its own variables (HELM_CACHE_HOME and so on).
func pull(url, chart, wanted, folder string) (*pulled, error) {
	settings := cli.New()
	found := &pulled{Components: []component{}, Chart: filepath.Join(folder, chart)}
	source := url
	if !registry.IsOCI(url) {
		var err error
		if found.Components, err = readIndex(settings, url); err != nil {
			return nil, err
		}
		source = repositoryName + "/" + chart
	} else if name := url[strings.LastIndex(url, "/")+1:]; name != chart {
		return nil, fmt.Errorf("%s ends with %s, not with the chart's name %s", url, name, chart)
	}
	said := &bytes.Buffer{}
	client, err := registryClient(settings, said)
	if err != nil {
		return nil, err
	}
	pulling := action.NewPullWithOpts(action.WithConfig(&action.Configuration{RegistryClient: client}))
	pulling.Settings, pulling.Version, pulling.Untar, pulling.UntarDir = settings, wanted, true, folder
	if _, err := pulling.Run(source); err != nil {
		return nil, err
	}
	found.Digest = digestIn(said.String())
	return found, nil
}

// readIndex adds the repository, downloads its index into the cache, and reads it from there: unsorted, as it is.
func readIndex(settings *cli.EnvSettings, url string) ([]component, error) {
	entry := &repo.Entry{Name: repositoryName, URL: url}
	added, err := repo.NewChartRepository(entry, getter.All(settings))
	if err != nil {
		return nil, err
	}
	added.CachePath = settings.RepositoryCache
	if _, err := added.DownloadIndexFile(); err != nil {
		return nil, err
	}
	file := repo.NewFile()
	file.Update(entry)
	if err := os.MkdirAll(filepath.Dir(settings.RepositoryConfig), 0o755); err != nil {
		return nil, err
	}
	if err := file.WriteFile(settings.RepositoryConfig, 0o644); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(settings.RepositoryCache, helmpath.CacheIndexFile(repositoryName)))
	if err != nil {
		return nil, err
	}
	var index repo.IndexFile
	if err := yaml.Unmarshal(content, &index); err != nil {
		return nil, err
	}
	return components(&index), nil
}

func components(index *repo.IndexFile) []component {
	found := []component{}
	for name, versions := range index.Entries {
		latest := versions[0]
		made := component{
			Name: name, DisplayName: latest.Annotations[displayName], Description: latest.Description,
			Icon: latest.Icon, Home: latest.Home, Keywords: latest.Keywords,
		}
		for _, each := range versions {
			made.Versions = append(made.Versions, version{each.Version, each.AppVersion, each.Digest})
		}
		found = append(found, made)
	}
	slices.SortFunc(found, func(a, b component) int { return strings.Compare(a.Name, b.Name) })
	return found
}

func push(archive, url string) (*pulled, error) {
	if !registry.IsOCI(url) {
		return nil, fmt.Errorf("%s is no oci:// address", url)
	}
	settings := cli.New()
	said := &bytes.Buffer{}
	client, err := registryClient(settings, said)
	if err != nil {
		return nil, err
	}
	pushing := action.NewPushWithOpts(action.WithPushConfig(&action.Configuration{RegistryClient: client}))
	pushing.Settings = settings
	if _, err := pushing.Run(archive, url); err != nil {
		return nil, err
	}
	return &pulled{Components: []component{}, Chart: archive, Digest: digestIn(said.String())}, nil
}

func registryClient(settings *cli.EnvSettings, said *bytes.Buffer) (*registry.Client, error) {
	return registry.NewClient(
		registry.ClientOptEnableCache(true),
		registry.ClientOptCredentialsFile(settings.RegistryConfig),
		registry.ClientOptWriter(said),
	)
}

// digestIn finds the digest in what Helm says of a pull or push, which is the only place where it tells it.
func digestIn(said string) string {
	for _, line := range strings.Split(said, "\n") {
		if digest, is := strings.CutPrefix(strings.TrimSpace(line), "Digest: "); is {
			return digest
		}
	}
	return ""
}
