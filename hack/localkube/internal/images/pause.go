package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// writeArchive writes an OCI image archive whose image holds one program.
func writeArchive(w io.Writer, image, name string, program []byte) error {
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	if err := addFile(tw, name, 0o755, program); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	config, err := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Entrypoint: []string{"/" + name}, User: "65535:65535"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer.Bytes())}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: describe(ocispec.MediaTypeImageConfig, config),
		Layers: []ocispec.Descriptor{describe(ocispec.MediaTypeImageLayer, layer.Bytes())},
	})
	if err != nil {
		return err
	}
	top := describe(ocispec.MediaTypeImageManifest, manifest)
	// The first is containerd's word for the whole name, the second OCI's for the tag.
	top.Annotations = map[string]string{"io.containerd.image.name": image, ocispec.AnnotationRefName: image}
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{top},
	})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		data []byte
	}{
		{ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)},
		{ocispec.ImageIndexFile, index},
		{blobPath(manifest), manifest}, {blobPath(config), config}, {blobPath(layer.Bytes()), layer.Bytes()},
	} {
		if err := addFile(out, f.name, 0o644, f.data); err != nil {
			return err
		}
	}
	return out.Close()
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func blobPath(data []byte) string {
	return ocispec.ImageBlobsDir + "/sha256/" + digest.FromBytes(data).Encoded()
}

func addFile(tw *tar.Writer, name string, mode int64, data []byte) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}
