package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Authority is a certificate authority of a test.
type Authority struct {
	File string // its certificate, PEM

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

// NewAuthority makes an authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{dir: t.TempDir()}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.File, _, a.key = a.issue(t, "ca", a.cert, nil)
	return a
}

// Server gives the settings with which a server shows a certificate for 127.0.0.1
// at one more address.
func (a *Authority) Server(t testing.TB) (addr string, settings []string) {
	t.Helper()
	addr = FreeAddr(t)
	cert, key, _ := a.issue(t, "server", &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, a)
	return addr, []string{"tls-port " + Port(addr), "tls-cert-file " + cert, "tls-key-file " + key, "tls-ca-cert-file " + a.File, "tls-auth-clients no"}
}

// issue writes a certificate by an authority, or by itself, and its key.
func (a *Authority) issue(t testing.TB, name string, c *x509.Certificate, by *Authority) (certFile, keyFile string, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(suffix, kind string, b []byte) string {
		file := filepath.Join(a.dir, name+suffix)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write(".pem", "CERTIFICATE", der), write(".key", "PRIVATE KEY", secret), key
}

// User is what the manual's ACL lines are about, with a password for tests.
const User, Password = "mailwicket", "correct horse"

// ACL gives the ACL SETUSER lines of the manual, deploy/docs/redis.md, as lists of
// arguments: for a server, for the nodes of a cluster besides, and for Sentinels.
func ACL(t testing.TB) (server, cluster, sentinel []any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "deploy", "docs", "redis.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found [][]any
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if !strings.HasPrefix(line, "    ACL SETUSER "+User+" ") {
			continue
		}
		var args []any
		for _, w := range words {
			if w == ">PASSWORD" {
				w = ">" + Password
			}
			args = append(args, w)
		}
		found = append(found, args)
	}
	if len(found) != 3 {
		t.Fatalf("redis.md has %d lines of ACL SETUSER, want three", len(found))
	}
	return found[0], found[1], found[2]
}

// root is the module's directory.
func root(t testing.TB) string {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

// Grant gives the test's user the rights of ACL's lines.
func Grant(t testing.TB, c *redis.Client, lines ...[]any) {
	t.Helper()
	for _, args := range lines {
		if err := c.Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
}
