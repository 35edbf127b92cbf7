package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// writeStore makes a store with one image of two layers, as buildah writes it.
func writeStore(t *testing.T) Store {
	t.Helper()
	root := t.TempDir()
	config := []byte(`{"os":"linux"}`)
	layers := []ocispec.Descriptor{describe(ocispec.MediaTypeImageLayer, []byte("low")), describe(ocispec.MediaTypeImageLayer, []byte("top"))}
	manifest, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: describe(ocispec.MediaTypeImageConfig, config), Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"overlay-images/images.json":                                          `[{"id":"i1","names":["localhost/app:latest","localhost/app:2"],"layer":"b"},{"id":"i2","layer":"a"}]`,
		"overlay-layers/layers.json":                                          `[{"id":"b","parent":"a","diff-digest":"` + layers[1].Digest.String() + `"},{"id":"a","diff-digest":"` + layers[0].Digest.String() + `"}]`,
		"overlay-images/i1/manifest":                                          string(manifest),
		"overlay-images/i1/" + bigDataName(digest.FromBytes(config).String()): string(config),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Store{root}
}

func TestAnImageIsFoundByEveryNameThatBuildahTakes(t *testing.T) {
	s := writeStore(t)
	for name, full := range map[string]string{
		"localhost/app:latest": "localhost/app:latest", "localhost/app": "localhost/app:latest",
		"app": "localhost/app:latest", "app:2": "localhost/app:2",
	} {
		img, err := s.Image(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if img.Name != full || len(img.Layers) != 2 || img.Layers[0].Folder != s.Root+"/overlay/a/diff" || string(img.Config) != `{"os":"linux"}` {
			t.Errorf("%s: %+v", name, img)
		}
	}
}

func TestAnUnknownImageIsAnErrorThatNamesTheKnown(t *testing.T) {
	_, err := writeStore(t).Image("app:3")
	if err == nil || !strings.Contains(err.Error(), "localhost/app:2, localhost/app:latest") {
		t.Error(err)
	}
	if _, err := (Store{t.TempDir()}).Image("app"); err == nil || !strings.Contains(err.Error(), "buildah build") {
		t.Error(err)
	}
}

func TestABrokenChainOfLayersIsAnError(t *testing.T) {
	for name, layers := range map[string][]storeLayer{
		"missing": {{ID: "top", Parent: "gone"}},
		"circle":  {{ID: "top", Parent: "x"}, {ID: "x", Parent: "top"}},
	} {
		if _, err := chain(layers, "top"); err == nil {
			t.Error(name)
		}
	}
}

func TestNamesOfDataAreContainersStoragesOwn(t *testing.T) {
	if got := bigDataName("manifest"); got != "manifest" {
		t.Error(got)
	}
	if got := bigDataName("sha256:ab"); got != "=c2hhMjU2OmFi" {
		t.Error(got)
	}
}

func TestTheUpperFolderIsFoundInBothKindsOfMount(t *testing.T) {
	for want, m := range map[string]mount.Mount{
		"/a": {Type: "bind", Source: "/a"},
		"/b": {Type: "overlay", Options: []string{"workdir=/w", "upperdir=/b", "lowerdir=/l"}},
	} {
		if got, err := upperDir([]mount.Mount{m}); err != nil || got != want {
			t.Errorf("%s: %s %v", want, got, err)
		}
	}
	if _, err := upperDir(nil); err == nil {
		t.Error("no mounts are enough")
	}
}

func TestLinkTreeKeepsFilesModesTimesAndLinks(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	if err := errors.Join(
		os.Mkdir(src+"/d", 0o750), os.WriteFile(src+"/d/f", []byte("x"), 0o640), os.Symlink("f", src+"/d/l"),
		unix.Chmod(src+"/d", 0o2750), unix.UtimesNano(src+"/d", []unix.Timespec{{Sec: 1}, {Sec: 2}}),
	); err != nil {
		t.Fatal(err)
	}
	n, err := linkTree(src, dst)
	if err != nil || n != 2 {
		t.Fatal(n, err)
	}
	a, _ := os.Stat(src + "/d/f")
	b, _ := os.Stat(dst + "/d/f")
	if !os.SameFile(a, b) {
		t.Error("the file was copied")
	}
	fi, err := os.Stat(dst + "/d")
	if err != nil || fi.ModTime().Unix() != 2 || fi.Mode()&os.ModeSetgid == 0 || fi.Mode().Perm() != 0o750 {
		t.Error(fi.Mode(), fi.ModTime(), err)
	}
	if to, err := os.Readlink(dst + "/d/l"); err != nil || to != "f" {
		t.Error(to, err)
	}
}

func TestCopyFileKeepsWhatALinkWould(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/f", []byte("x"), 0o600), unix.Chmod(dir+"/f", 0o4711), os.Symlink("gone", dir+"/l"),
		unix.UtimesNano(dir+"/f", []unix.Timespec{{Sec: 1}, {Sec: 2}})); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(copyFile(dir+"/f", dir+"/f2"), copyFile(dir+"/l", dir+"/l2")); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(dir + "/f2")
	if err != nil || fi.ModTime().Unix() != 2 || fi.Mode()&os.ModeSetuid == 0 || fi.Mode().Perm() != 0o711 {
		t.Error(fi.Mode(), fi.ModTime(), err)
	}
	if to, err := os.Readlink(dir + "/l2"); err != nil || to != "gone" {
		t.Error(to, err)
	}
}

// Whoever reads the archive checks every digest; so does this.
func TestThePauseArchiveHangsTogether(t *testing.T) {
	var buf bytes.Buffer
	if err := writeArchive(&buf, "localhost/pause:1", "pause", []byte("program")); err != nil {
		t.Fatal(err)
	}
	files := untar(t, &buf)
	blob := func(d ocispec.Descriptor, into any) []byte {
		data := files["blobs/sha256/"+d.Digest.Encoded()]
		if digest.FromBytes(data) != d.Digest || int64(len(data)) != d.Size {
			t.Fatalf("%s does not hold what its name says", d.Digest)
		}
		if into != nil {
			if err := json.Unmarshal(data, into); err != nil {
				t.Fatal(err)
			}
		}
		return data
	}
	var index ocispec.Index
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	if got := index.Manifests[0].Annotations["io.containerd.image.name"]; got != "localhost/pause:1" {
		t.Error(got)
	}
	var manifest ocispec.Manifest
	blob(index.Manifests[0], &manifest)
	var config ocispec.Image
	blob(manifest.Config, &config)
	layer := blob(manifest.Layers[0], nil)
	if !slices.Equal(config.RootFS.DiffIDs, []digest.Digest{digest.FromBytes(layer)}) || config.Config.Entrypoint[0] != "/pause" {
		t.Errorf("%+v", config)
	}
	if got := untar(t, bytes.NewReader(layer)); string(got["pause"]) != "program" {
		t.Errorf("%v", got)
	}
}

func untar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}
