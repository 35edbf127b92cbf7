package parts

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	dp "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func class(provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local"}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func TestOnlyClaimsOfThisProvisionerGetAVolumeAndOnlyWhenItIsTime(t *testing.T) {
	placed := map[string]string{annotationNode: "localkube"}
	for name, c := range map[string]struct {
		class       *storagev1.StorageClass
		annotations map[string]string
		want        bool
	}{
		"at once":       {class(provisionerName, storagev1.VolumeBindingImmediate), nil, true},
		"waits":         {class(provisionerName, storagev1.VolumeBindingWaitForFirstConsumer), nil, false},
		"has waited":    {class(provisionerName, storagev1.VolumeBindingWaitForFirstConsumer), placed, true},
		"another's":     {class("example.com/other", storagev1.VolumeBindingImmediate), nil, false},
		"another's too": {class("example.com/other", storagev1.VolumeBindingWaitForFirstConsumer), placed, false},
	} {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Annotations: c.annotations}}
		if got := asksForVolume(claim, c.class); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAVolumeIsAFolderOfItsOwnForItsClaim(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", UID: types.UID("u-1")}}
	v := buildVolume(claim, class(provisionerName, storagev1.VolumeBindingImmediate), "/pv", "localkube")
	if v.Spec.Local.Path != "/pv/pvc-u-1" || v.Spec.ClaimRef.UID != "u-1" || v.Spec.StorageClassName != "local" {
		t.Errorf("%+v", v.Spec)
	}
	v.Status.Phase = corev1.VolumeReleased
	if !mayRemove(v, "/pv") {
		t.Error("its own released volume stays for ever")
	}
}

func TestFoldersThatAreNotTheProvisionersAreNeverRemoved(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: types.UID("u-1")}}
	for name, change := range map[string]func(*corev1.PersistentVolume){
		"bound": func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeBound },
		"kept": func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		},
		"by hand":     func(v *corev1.PersistentVolume) { v.Annotations = nil },
		"elsewhere":   func(v *corev1.PersistentVolume) { v.Spec.Local.Path = "/home/pvc-u-1" },
		"climbing":    func(v *corev1.PersistentVolume) { v.Spec.Local.Path = "/pv/../home/pvc-u-1" },
		"the root":    func(v *corev1.PersistentVolume) { v.Spec.Local.Path = "/pv" },
		"not a claim": func(v *corev1.PersistentVolume) { v.Spec.Local.Path = "/pv/other" },
		"not local":   func(v *corev1.PersistentVolume) { v.Spec.Local = nil },
	} {
		v := buildVolume(claim, class(provisionerName, storagev1.VolumeBindingImmediate), "/pv", "localkube")
		v.Status.Phase = corev1.VolumeReleased
		change(v)
		if mayRemove(v, "/pv") {
			t.Error(name)
		}
	}
}

func TestAPodSeesTheFakeGPUsThatItWasGiven(t *testing.T) {
	p := newGPUPlugin(3)
	if len(p.devices) != 3 || p.devices[0].ID == p.devices[1].ID {
		t.Errorf("%v", p.devices)
	}
	got, err := p.Allocate(context.Background(), &dp.AllocateRequest{ContainerRequests: []*dp.ContainerAllocateRequest{{DevicesIds: []string{"fake-0", "fake-2"}}}})
	if err != nil || got.ContainerResponses[0].Envs["NVIDIA_VISIBLE_DEVICES"] != "fake-0,fake-2" {
		t.Errorf("%v %v", got, err)
	}
}

func TestTheCatchAllComesAfterTheCluster(t *testing.T) {
	if slices.Index(directives, "template") < slices.Index(directives, "kubernetes") {
		t.Error("every name would be unknown")
	}
}
