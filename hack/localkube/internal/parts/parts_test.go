package parts

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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

func TestAClaimThatHasItsVolumeGetsNoSecond(t *testing.T) {
	claim := boundClaim("1Gi", "1Gi")
	if asksForVolume(claim, class(provisionerName, storagev1.VolumeBindingImmediate)) {
		t.Error("a second volume")
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

func storage(size string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
}

func boundClaim(asks, has string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", UID: types.UID("u-1")},
		Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pvc-u-1",
			Resources: corev1.VolumeResourceRequirements{Requests: storage(asks)}},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: storage(has)},
	}
}

func TestOnlyBoundClaimsThatMayGrowAndAskForMoreAreGrown(t *testing.T) {
	yes, no := true, false
	pending := boundClaim("2Gi", "1Gi")
	pending.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	lost := boundClaim("2Gi", "1Gi")
	lost.Status.Phase = corev1.ClaimLost
	for name, c := range map[string]struct {
		provisioner string
		allows      *bool
		claim       *corev1.PersistentVolumeClaim
		want        bool
	}{
		"more":                {provisionerName, &yes, boundClaim("2Gi", "1Gi"), true},
		"as much":             {provisionerName, &yes, boundClaim("2Gi", "2Gi"), false},
		"as much, other unit": {provisionerName, &yes, boundClaim("1Gi", "1024Mi"), false},
		"less":                {provisionerName, &yes, boundClaim("1Gi", "2Gi"), false},
		"not allowed":         {provisionerName, &no, boundClaim("2Gi", "1Gi"), false},
		"not said":            {provisionerName, nil, boundClaim("2Gi", "1Gi"), false},
		"another's":           {"example.com/other", &yes, boundClaim("2Gi", "1Gi"), false},
		"not yet bound":       {provisionerName, &yes, pending, false},
		"lost":                {provisionerName, &yes, lost, false},
	} {
		class := class(c.provisioner, storagev1.VolumeBindingWaitForFirstConsumer)
		class.AllowVolumeExpansion = c.allows
		if got := asksForMore(c.claim, class); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAVolumeGrowsToWhatItsClaimAsksForAndTheClaimTakesItsSize(t *testing.T) {
	for name, c := range map[string]struct{ asks, has, volume, grown, claim string }{
		"more":                     {"2Gi", "1Gi", "1Gi", "2Gi", "2Gi"},
		"interrupted after volume": {"2Gi", "1Gi", "2Gi", "", "2Gi"},
		"taken back in between":    {"2Gi", "1Gi", "3Gi", "", "3Gi"},
	} {
		claim := boundClaim(c.asks, c.has)
		volume := buildVolume(claim, class(provisionerName, storagev1.VolumeBindingImmediate), "/pv", "localkube")
		volume.Spec.Capacity = storage(c.volume)
		grown := grownVolume(volume, claim)
		if (grown == nil) != (c.grown == "") {
			t.Errorf("%s: %v", name, grown)
		}
		if grown == nil {
			grown = volume
		} else if got := grown.Spec.Capacity.Storage().String(); got != c.grown {
			t.Errorf("%s: the volume has %s", name, got)
		}
		if got := grownClaim(claim, grown).Status.Capacity.Storage().String(); got != c.claim {
			t.Errorf("%s: the claim says %s", name, got)
		}
		// What is observed is shared with whoever else reads the cache.
		if volume.Spec.Capacity.Storage().String() != c.volume || claim.Status.Capacity.Storage().String() != c.has {
			t.Errorf("%s: the object that was observed has changed", name)
		}
	}
}

func TestVolumesThatAreNotTheProvisionersNeverGrow(t *testing.T) {
	claim := boundClaim("2Gi", "1Gi")
	for name, c := range map[string]struct {
		change func(*corev1.PersistentVolume)
		want   bool
	}{
		"its own":         {func(*corev1.PersistentVolume) {}, true},
		"by hand":         {func(v *corev1.PersistentVolume) { v.Annotations = nil }, false},
		"another claim's": {func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = "u-2" }, false},
		"nobody's":        {func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil }, false},
	} {
		v := buildVolume(claim, class(provisionerName, storagev1.VolumeBindingImmediate), "/pv", "localkube")
		c.change(v)
		if got := isMadeFor(v, claim); got != c.want {
			t.Errorf("%s: %v", name, got)
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
