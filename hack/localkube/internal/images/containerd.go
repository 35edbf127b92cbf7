package images

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"localkube/internal/layout"
)

const snapshotter = "overlayfs"

// Labels that containerd's garbage collector and the kubelet's runtime
// interface look at.
const (
	labelSnapshot = "containerd.io/gc.ref.snapshot." + snapshotter
	labelConfig   = "containerd.io/gc.ref.content.config"
	labelPinned   = "io.cri-containerd.pinned"
)

// Client speaks to the cluster's containerd.
type Client struct{ c *containerd.Client }

// Connect does not wait: the first call says whether containerd is there.
func Connect(socket string) (*Client, error) {
	c, err := containerd.New(socket, containerd.WithDefaultNamespace(layout.ContainerdNamespace))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", socket, err)
	}
	return &Client{c}, nil
}

// Close ends the connection.
func (c *Client) Close() { c.c.Close() } //nolint:errcheck

// Ready is nil once containerd answers.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.c.Version(ctx)
	return err
}

// EnsurePause makes the image that holds every pod's namespaces.
func (c *Client) EnsurePause(ctx context.Context, program string) error {
	ctx = namespaces.WithNamespace(ctx, layout.ContainerdNamespace)
	if img, err := c.c.GetImage(ctx, layout.PauseImage); err == nil {
		if ok, err := img.IsUnpacked(ctx, snapshotter); err == nil && ok {
			return nil
		}
	} else if !errdefs.IsNotFound(err) {
		return err
	}
	bin, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := writeArchive(&archive, layout.PauseImage, "pause", bin); err != nil {
		return err
	}
	imported, err := c.c.Import(ctx, &archive)
	if err != nil {
		return err
	}
	for _, i := range imported {
		if err := containerd.NewImage(c.c, i).Unpack(ctx, snapshotter); err != nil {
			return err
		}
		i.Labels = map[string]string{labelPinned: "pinned"}
		if _, err := c.c.ImageService().Update(ctx, i, "labels"); err != nil {
			return err
		}
	}
	return nil
}

// Import takes an image of buildah's into containerd without copying its
// files. Both stores treat an unpacked layer as read-only, and overlayfs
// copies a file before it lets anybody write to it, so that sharing the files
// is safe. The layers' digests are those that buildah computed.
func (c *Client) Import(ctx context.Context, img *Image) (linked int, err error) {
	ctx = namespaces.WithNamespace(ctx, layout.ContainerdNamespace)
	// Keeps the garbage collector off what is not yet referred to.
	ctx, done, err := c.c.WithLease(ctx)
	if err != nil {
		return 0, err
	}
	defer done(ctx) //nolint:errcheck

	root, release, err := plainRoot()
	if err != nil {
		return 0, err
	}
	defer release()
	top, linked, err := c.importLayers(ctx, img, root)
	if err != nil {
		return linked, err
	}
	return linked, c.writeRecords(ctx, img, top)
}

func (c *Client) importLayers(ctx context.Context, img *Image, root string) (top string, linked int, err error) {
	sn := c.c.SnapshotService(snapshotter)
	var diffs []digest.Digest
	for _, l := range img.Layers {
		diffs = append(diffs, l.Diff)
		id := identity.ChainID(append([]digest.Digest{}, diffs...)).String()
		if _, err := sn.Stat(ctx, id); err == nil {
			top = id
			continue
		} else if !errdefs.IsNotFound(err) {
			return "", linked, err
		}
		key := "import-" + id
		sn.Remove(ctx, key) //nolint:errcheck // left by an import that was cut off, if anything
		mounts, err := sn.Prepare(ctx, key, top)
		if err != nil {
			return "", linked, err
		}
		upper, err := upperDir(mounts)
		if err != nil {
			return "", linked, err
		}
		n, err := linkTree(through(root, l.Folder), through(root, upper))
		linked += n
		if err != nil {
			return "", linked, fmt.Errorf("layer %s: %w", l.Diff, err)
		}
		if err := sn.Commit(ctx, id, key, snapshots.WithLabels(map[string]string{})); err != nil && !errdefs.IsAlreadyExists(err) {
			return "", linked, err
		}
		top = id
	}
	return top, linked, nil
}

// writeRecords makes config, manifest and name known. The name must not carry
// the runtime interface's own "managed" label: it sets that together with a
// second name, by the config's digest, which image volumes need.
func (c *Client) writeRecords(ctx context.Context, img *Image, top string) error {
	store := c.c.ContentStore()
	if err := writeBlob(ctx, store, img.Config, img.parsed.Config, labelSnapshot, top); err != nil {
		return err
	}
	desc := describe(img.parsed.MediaType, img.Manifest)
	if desc.MediaType == "" {
		desc.MediaType = ocispec.MediaTypeImageManifest
	}
	if err := writeBlob(ctx, store, img.Manifest, desc, labelConfig, img.parsed.Config.Digest.String()); err != nil {
		return err
	}
	record := images.Image{Name: img.Name, Target: desc}
	_, err := c.c.ImageService().Create(ctx, record)
	if errdefs.IsAlreadyExists(err) {
		_, err = c.c.ImageService().Update(ctx, record, "target")
	}
	return err
}

func writeBlob(ctx context.Context, store content.Store, data []byte, desc ocispec.Descriptor, label, value string) error {
	labels := map[string]string{label: value}
	err := content.WriteBlob(ctx, store, "import-"+desc.Digest.String(), bytes.NewReader(data), desc, content.WithLabels(labels))
	if err != nil {
		return fmt.Errorf("writing %s: %w", desc.Digest, err)
	}
	return nil
}

// upperDir finds the folder that a new snapshot's files go to.
func upperDir(mounts []mount.Mount) (string, error) {
	for _, m := range mounts {
		if m.Type == "bind" {
			return m.Source, nil
		}
		for _, o := range m.Options {
			if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("no folder to write to in %v", mounts)
}

// plainRoot shows the root file system at another place, without the mounts on
// it: containers/storage bind-mounts its own folder, and a hard link must not
// cross mounts, not even on one file system.
func plainRoot() (root string, release func(), err error) {
	if root, err = os.MkdirTemp("", "localkube-root-"); err != nil {
		return "", nil, err
	}
	release = func() {
		unix.Unmount(root, unix.MNT_DETACH) //nolint:errcheck // fails if it was not mounted
		os.Remove(root)                     //nolint:errcheck // never RemoveAll: / might still be there
	}
	if err = unix.Mount("/", root, "", unix.MS_BIND, ""); err == nil {
		err = unix.Mount("", root, "", unix.MS_PRIVATE, "")
	}
	if err != nil {
		release()
		return "", nil, fmt.Errorf("bind mount of /: %w", err)
	}
	return root, release, nil
}

// through gives a folder's path below the plain root, or its own if it lies on
// a file system of its own, which the plain root does not show.
func through(root, folder string) string {
	var a, b unix.Stat_t
	other := filepath.Join(root, folder)
	if unix.Stat(folder, &a) == nil && unix.Stat(other, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino {
		return other
	}
	return folder
}

// ForgetContainers removes what containerd remembers of a former cluster's
// pods; their snapshots would stay for ever.
func (c *Client) ForgetContainers(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, layout.ContainerdNamespace)
	all, err := c.c.Containers(ctx)
	if err != nil {
		return err
	}
	for _, k := range all {
		if t, err := k.Task(ctx, nil); err == nil {
			if _, err := t.Delete(ctx, containerd.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("container %s: %w", k.ID(), err)
			}
		}
		if err := k.Delete(ctx, containerd.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("container %s: %w", k.ID(), err)
		}
	}
	return nil
}
