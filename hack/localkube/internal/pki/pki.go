// Package pki makes every certificate, key and kubeconfig of the cluster.
//
// All of it is made once per state folder and lasts ten years; a folder that
// is there is complete, because it is renamed into place when it is whole.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Names says for whom the certificates are.
type Names struct {
	Server string   // address of the API server
	Node   string   // node name
	Hosts  []string // further names and addresses of API server and kubelet
}

const lifetimeYears = 10

// authority signs certificates into one folder.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// Ensure makes the folder unless it is there already.
func Ensure(dir string, names Names) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := Write(tmp, names); err != nil {
		return fmt.Errorf("making certificates: %w", err)
	}
	return os.Rename(tmp, dir)
}

// Write makes all files in dir.
func Write(dir string, names Names) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := newAuthority(dir, "ca")
	if err != nil {
		return err
	}
	front, err := newAuthority(dir, "front-proxy-ca")
	if err != nil {
		return err
	}
	inCluster := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	for _, c := range []struct {
		by    *authority
		file  string
		name  string
		group string
		hosts []string
	}{
		{root, "apiserver", "kube-apiserver", "", append(append([]string{}, names.Hosts...), inCluster...)},
		{root, "etcd", "etcd", "", []string{"127.0.0.1", "localhost"}},
		{root, "kubelet-server", "system:node:" + names.Node, "system:nodes", names.Hosts},
		{root, "apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters", nil},
		{root, "metrics-server", "metrics-server", "", []string{"metrics-server.kube-system.svc"}},
		{front, "front-proxy-client", "front-proxy-client", "", nil},
	} {
		if _, _, err := c.by.issue(c.file, c.name, c.group, c.hosts); err != nil {
			return err
		}
	}
	for _, u := range [][3]string{
		{"admin", "kubernetes-admin", "system:masters"},
		{"controller-manager", "system:kube-controller-manager", ""},
		{"scheduler", "system:kube-scheduler", ""},
		{"kubelet", "system:node:" + names.Node, "system:nodes"},
		{"proxy", "system:kube-proxy", ""},
		{"coredns", "system:coredns", ""},
		{"metrics-server", "system:metrics-server", ""},
	} {
		cert, key, err := root.issue(u[0]+"-client", u[1], u[2], nil)
		if err != nil {
			return err
		}
		text := kubeconfig(names.Server, root.pem, cert, key)
		if err := os.WriteFile(filepath.Join(dir, u[0]+".kubeconfig"), text, 0o600); err != nil {
			return err
		}
	}
	return writeServiceAccountKeys(dir)
}

func writeServiceAccountKeys(dir string) error {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if _, err := writeKey(filepath.Join(dir, "sa.key"), k); err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "sa.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), 0o644)
}

func newAuthority(dir, name string) (*authority, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t, err := template(name, "")
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, cert: cert, key: k, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	if err := os.WriteFile(filepath.Join(dir, name+".crt"), a.pem, 0o644); err != nil {
		return nil, err
	}
	_, err = writeKey(filepath.Join(dir, name+".key"), k)
	return a, err
}

func (a *authority) issue(file, name, group string, hosts []string) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t, err := template(name, group)
	if err != nil {
		return nil, nil, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &k.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(a.dir, file+".crt"), cert, 0o644); err != nil {
		return nil, nil, err
	}
	key, err = writeKey(filepath.Join(a.dir, file+".key"), k)
	return cert, key, err
}

func template(name, group string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		// An hour back: clocks of virtual machines jump.
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().AddDate(lifetimeYears, 0, 0),
	}
	if group != "" {
		t.Subject.Organization = []string{group}
	}
	return t, nil
}

func writeKey(path string, k *ecdsa.PrivateKey) ([]byte, error) {
	b, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	p := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})
	return p, os.WriteFile(path, p, 0o600)
}

func kubeconfig(server string, caPEM, cert, key []byte) []byte {
	b := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: localkube, cluster: {server: "%s", certificate-authority-data: %s}}]
users: [{name: localkube, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: localkube, context: {cluster: localkube, user: localkube}}]
current-context: localkube
`, server, b(caPEM), b(cert), b(key))
}
