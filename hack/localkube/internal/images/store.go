// Package images brings images into the cluster's containerd: those that
// buildah keeps in containers/storage, by hard links, and the pause image,
// which it makes itself.
package images

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultStore is where root's buildah keeps its images.
const DefaultStore = "/var/lib/containers/storage"

// Store is a containers/storage folder with the overlay driver.
type Store struct{ Root string }

type storeImage struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
	Layer string   `json:"layer"`
}

type storeLayer struct {
	ID         string        `json:"id"`
	Parent     string        `json:"parent"`
	DiffDigest digest.Digest `json:"diff-digest"`
}

// Image is an image as a store keeps it.
type Image struct {
	Name     string
	Layers   []Layer // lowest first
	Manifest []byte
	Config   []byte
	parsed   ocispec.Manifest
}

// Layer is one layer of it.
type Layer struct {
	Diff   digest.Digest
	Folder string // its unpacked files
}

// Image finds an image by the name that buildah gave it.
func (s Store) Image(name string) (*Image, error) {
	var all []storeImage
	if err := readJSON(filepath.Join(s.Root, "overlay-images", "images.json"), &all); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no images in %s: was `buildah build` run as root, with the overlay driver?", s.Root)
		}
		return nil, err
	}
	found, full := find(all, name)
	if found == nil {
		return nil, fmt.Errorf("image %q is not in %s; there are: %s", name, s.Root, strings.Join(names(all), ", "))
	}
	var layers []storeLayer
	if err := readJSON(filepath.Join(s.Root, "overlay-layers", "layers.json"), &layers); err != nil {
		return nil, err
	}
	chain, err := chain(layers, found.Layer)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	img := &Image{Name: full}
	for _, l := range chain {
		img.Layers = append(img.Layers, Layer{l.DiffDigest, filepath.Join(s.Root, "overlay", l.ID, "diff")})
	}
	if img.Manifest, err = s.bigData(found.ID, "manifest"); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(img.Manifest, &img.parsed); err != nil {
		return nil, fmt.Errorf("manifest of %q: %w", name, err)
	}
	if len(img.parsed.Layers) != len(img.Layers) {
		return nil, fmt.Errorf("image %q: its manifest has %d layers, the store %d", name, len(img.parsed.Layers), len(img.Layers))
	}
	img.Config, err = s.bigData(found.ID, img.parsed.Config.Digest.String())
	return img, err
}

// find takes a name as buildah itself does: "app" is "localhost/app:latest".
func find(all []storeImage, name string) (*storeImage, string) {
	tagged := name
	if last := name[strings.LastIndexByte(name, '/')+1:]; !strings.ContainsAny(last, ":@") {
		tagged += ":latest"
	}
	for _, full := range []string{name, tagged, "localhost/" + tagged} {
		for i := range all {
			if slices.Contains(all[i].Names, full) {
				return &all[i], full
			}
		}
	}
	return nil, ""
}

func names(all []storeImage) []string {
	var out []string
	for _, i := range all {
		out = append(out, i.Names...)
	}
	if len(out) == 0 {
		return []string{"none"}
	}
	slices.Sort(out)
	return out
}

// chain follows a layer down to the lowest; the result begins with that one.
func chain(layers []storeLayer, top string) ([]storeLayer, error) {
	byID := map[string]storeLayer{}
	for _, l := range layers {
		byID[l.ID] = l
	}
	var out []storeLayer
	for id := top; id != ""; {
		l, ok := byID[id]
		if !ok {
			return nil, fmt.Errorf("layer %s is missing from the store", id)
		}
		if slices.ContainsFunc(out, func(o storeLayer) bool { return o.ID == id }) {
			return nil, fmt.Errorf("layer %s is its own ancestor", id)
		}
		out, id = append(out, l), l.Parent
	}
	slices.Reverse(out)
	return out, nil
}

func (s Store) bigData(image, key string) ([]byte, error) {
	return os.ReadFile(filepath.Join(s.Root, "overlay-images", image, bigDataName(key)))
}

// bigDataName is containers/storage's file name for a key: itself if harmless.
func bigDataName(key string) string {
	harmless := func(r rune) bool {
		return r == '.' || r == '-' || r == '_' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
	}
	if strings.IndexFunc(key, func(r rune) bool { return !harmless(r) }) < 0 {
		return key
	}
	return "=" + base64.StdEncoding.EncodeToString([]byte(key))
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
