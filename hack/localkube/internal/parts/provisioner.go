package parts

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	provisionerName     = "localkube.dev/local"
	annotationBy        = "pv.kubernetes.io/provisioned-by"
	annotationNode      = "volume.kubernetes.io/selected-node"
	labelHostname       = "kubernetes.io/hostname"
	provisionerResync   = 30 * time.Second
	volumePermissions   = 0o777 // pods of any user write to it, as with a network volume
	persistentVolumePre = "pvc-"
)

// volumes makes a PersistentVolume of type local, a folder, for every claim
// whose class asks for it, and removes the folder once the claim is gone. It is
// its own external resizer, too: sizes are but numbers here, nothing limits a folder.
type volumes struct {
	client  kubernetes.Interface
	classes storagelisters.StorageClassLister
	dir     string
	node    string
}

func provisioner(args []string) error {
	fs := flag.NewFlagSet("provisioner", flag.ExitOnError)
	kubeconfig := fs.String("kubeconfig", "", "kubeconfig")
	dir := fs.String("dir", "", "where volumes live")
	node := fs.String("node", "localkube", "node name")
	fs.Parse(args) //nolint:errcheck // exits by itself
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	// Handlers get one event at a time; what fails is tried again at the next resync.
	factory := informers.NewSharedInformerFactory(client, provisionerResync)
	v := &volumes{client: client, classes: factory.Storage().V1().StorageClasses().Lister(), dir: *dir, node: *node}
	classes := factory.Storage().V1().StorageClasses().Informer()
	factory.Start(ctx.Done())
	cache.WaitForCacheSync(ctx.Done(), classes.HasSynced)
	for informer, handle := range map[cache.SharedIndexInformer]func(context.Context, any) error{
		factory.Core().V1().PersistentVolumeClaims().Informer(): v.onClaim,
		factory.Core().V1().PersistentVolumes().Informer():      v.onVolume,
	} {
		report := func(o any) {
			if err := handle(ctx, o); err != nil {
				log.Print(err)
			}
		}
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: report, UpdateFunc: func(_, o any) { report(o) }})
		if err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	return nil
}

func (v *volumes) onClaim(ctx context.Context, o any) error {
	claim := o.(*corev1.PersistentVolumeClaim)
	if claim.Spec.StorageClassName == nil || claim.DeletionTimestamp != nil {
		return nil
	}
	class, err := v.classes.Get(*claim.Spec.StorageClassName)
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	switch {
	case asksForVolume(claim, class):
		return v.provide(ctx, claim, class)
	case asksForMore(claim, class):
		return v.grow(ctx, claim)
	}
	return nil
}

func (v *volumes) provide(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	volume := buildVolume(claim, class, v.dir, v.node)
	path := volume.Spec.Local.Path
	if err := os.MkdirAll(path, volumePermissions); err != nil {
		return err
	}
	if err := os.Chmod(path, volumePermissions); err != nil { // MkdirAll heeds the umask
		return err
	}
	_, err := v.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	} else if err == nil {
		log.Printf("made %s for %s/%s", volume.Name, claim.Namespace, claim.Name)
	}
	return err
}

// grow raises the volume's capacity, then what the claim says it has, as an
// external resizer does. Where it is interrupted, the next call goes on. A
// conflict is an error like any other: the change that caused it calls again.
func (v *volumes) grow(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	volume, err := v.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !isMadeFor(volume, claim) {
		return nil
	}
	if grown := grownVolume(volume, claim); grown != nil {
		if volume, err = v.client.CoreV1().PersistentVolumes().Update(ctx, grown, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	grown := grownClaim(claim, volume)
	if _, err := v.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, grown, metav1.UpdateOptions{}); err != nil {
		return err
	}
	log.Printf("grew %s of %s/%s to %s", volume.Name, claim.Namespace, claim.Name, grown.Status.Capacity.Storage())
	return nil
}

func (v *volumes) onVolume(ctx context.Context, o any) error {
	volume := o.(*corev1.PersistentVolume)
	if !mayRemove(volume, v.dir) {
		return nil
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	err := v.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if err == nil {
		log.Printf("deleted %s", volume.Name)
	} else if apierrors.IsNotFound(err) {
		err = nil
	}
	return err
}

// asksForVolume says whether a claim has no volume and is for this provisioner, now.
func asksForVolume(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) bool {
	if claim.Spec.VolumeName != "" || class.Provisioner != provisionerName {
		return false
	}
	waits := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	return !waits || claim.Annotations[annotationNode] != ""
}

// asksForMore says whether a bound claim of this provisioner may grow, and asks to.
func asksForMore(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) bool {
	return class.Provisioner == provisionerName &&
		class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion &&
		claim.Status.Phase == corev1.ClaimBound &&
		claim.Spec.Resources.Requests.Storage().Cmp(*claim.Status.Capacity.Storage()) > 0
}

// isMadeFor says whether this provisioner made the volume, and for that very claim.
func isMadeFor(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	return volume.Annotations[annotationBy] == provisionerName &&
		volume.Spec.ClaimRef != nil && volume.Spec.ClaimRef.UID == claim.UID
}

// grownVolume is the volume with what the claim asks for; nil where it has that much.
func grownVolume(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if size.Cmp(*volume.Spec.Capacity.Storage()) <= 0 {
		return nil
	}
	grown := volume.DeepCopy()
	grown.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: size}
	return grown
}

// grownClaim is the claim with what its volume has, which may be more than the
// claim asks for by now: a wish can be taken back while it is being fulfilled.
func grownClaim(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) *corev1.PersistentVolumeClaim {
	grown := claim.DeepCopy()
	grown.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: volume.Spec.Capacity[corev1.ResourceStorage]}
	return grown
}

// mayRemove says whether a volume's folder is this provisioner's and no longer wanted.
func mayRemove(volume *corev1.PersistentVolume, dir string) bool {
	return volume.Annotations[annotationBy] == provisionerName &&
		volume.Status.Phase == corev1.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		volume.Spec.Local != nil && filepath.Dir(filepath.Clean(volume.Spec.Local.Path)) == dir &&
		strings.HasPrefix(filepath.Base(volume.Spec.Local.Path), persistentVolumePre)
}

func buildVolume(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, dir, node string) *corev1.PersistentVolume {
	name := persistentVolumePre + string(claim.UID)
	policy := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	here := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
		{Key: labelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationBy: provisionerName}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: filepath.Join(dir, name)}},
			NodeAffinity:           &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{here}}},
		},
	}
}
