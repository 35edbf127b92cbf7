package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

func write(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if err := Ensure(dir, Names{Server: "https://10.0.0.1:6443", Node: "n", Hosts: []string{"10.0.0.1", "n"}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func load(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestServerCertificatesHoldForTheirNamesUnderTheAuthority(t *testing.T) {
	dir := write(t)
	roots := x509.NewCertPool()
	roots.AddCert(load(t, filepath.Join(dir, "ca.crt")))
	for file, hosts := range map[string][]string{
		"apiserver":      {"10.0.0.1", "n", "kubernetes.default.svc"},
		"kubelet-server": {"10.0.0.1", "n"},
		"etcd":           {"127.0.0.1"},
		"metrics-server": {"metrics-server.kube-system.svc"},
	} {
		cert := load(t, filepath.Join(dir, file+".crt"))
		for _, h := range hosts {
			if _, err := cert.Verify(x509.VerifyOptions{DNSName: h, Roots: roots}); err != nil {
				t.Errorf("%s for %s: %v", file, h, err)
			}
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, file+".crt"), filepath.Join(dir, file+".key")); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestTheFrontProxyIsNotUnderTheClusterAuthority(t *testing.T) {
	dir := write(t)
	roots := x509.NewCertPool()
	roots.AddCert(load(t, filepath.Join(dir, "ca.crt")))
	if _, err := load(t, filepath.Join(dir, "front-proxy-client.crt")).Verify(x509.VerifyOptions{Roots: roots}); err == nil {
		t.Error("whoever has a cluster certificate could pose as the aggregator")
	}
}

func TestKubeconfigsNameTheUserThatRBACExpects(t *testing.T) {
	dir := write(t)
	for file, want := range map[string][2]string{
		"admin": {"kubernetes-admin", "system:masters"}, "kubelet": {"system:node:n", "system:nodes"}, "scheduler": {"system:kube-scheduler", ""},
	} {
		text, err := os.ReadFile(filepath.Join(dir, file+".kubeconfig"))
		if err != nil {
			t.Fatal(err)
		}
		var k struct {
			Clusters []struct{ Cluster struct{ Server string } }
			Users    []struct {
				User map[string]string
			}
		}
		if err := yaml.Unmarshal(text, &k); err != nil {
			t.Fatal(err)
		}
		der, err := base64.StdEncoding.DecodeString(k.Users[0].User["client-certificate-data"])
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(der)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		group := ""
		if len(cert.Subject.Organization) > 0 {
			group = cert.Subject.Organization[0]
		}
		if got := [2]string{cert.Subject.CommonName, group}; got != want || k.Clusters[0].Cluster.Server != "https://10.0.0.1:6443" {
			t.Errorf("%s: %v at %s", file, got, k.Clusters[0].Cluster.Server)
		}
	}
}

func TestPrivateKeysAreForTheirOwnerOnly(t *testing.T) {
	dir := write(t)
	for _, f := range []string{"ca.key", "sa.key", "admin.kubeconfig"} {
		fi, err := os.Stat(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f, fi.Mode())
		}
	}
}

func TestAnInterruptedMakingIsStartedAfresh(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if err := os.MkdirAll(dir+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+".new/ca.crt", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(dir, Names{Server: "https://x", Node: "n"}); err != nil {
		t.Fatal(err)
	}
	first := load(t, filepath.Join(dir, "ca.crt"))
	if err := Ensure(dir, Names{Server: "https://x", Node: "n"}); err != nil {
		t.Fatal(err)
	}
	if !first.Equal(load(t, filepath.Join(dir, "ca.crt"))) {
		t.Error("a second call made other certificates")
	}
}
