package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

//go:embed postfix sendmail
var templates embed.FS

// MTA is a running mail server with its milter on a fixed port.
type MTA struct {
	Kind    string // "postfix" or "sendmail"
	Addr    string // SMTP, on 127.0.0.1; ::1 has the same port
	Port    int
	Milter  int // the port where it expects the filter
	Version string

	dir  string
	proc *Process
}

// settings is what the configuration templates may use.
type settings struct {
	Dir, CF                  string
	Port, Milter, Sink       int // Milter 0: no filter
	Name, Mailname, Certfile string
}

// Missing says why an MTA cannot be run here, "" when it can.
func Missing(kind string) string {
	if os.Getuid() != 0 {
		return "mail servers are started by root only"
	}
	switch kind {
	case "postfix":
		if _, err := os.Stat("/usr/sbin/postfix"); err != nil {
			return "Postfix is not installed"
		}
	case "sendmail":
		if _, err := os.Stat(sendmailBinary()); err != nil {
			return "Sendmail is not unpacked (integration/test does it)"
		}
	}
	return ""
}

// sendmailRoot is where integration/test unpacks Sendmail.
func sendmailRoot() string {
	if root := os.Getenv("MAILWICKET_SENDMAIL"); root != "" {
		return root
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "/nonexistent"
	}
	return filepath.Join(cache, "mailwicket-test", "sendmail")
}

func sendmailBinary() string { return filepath.Join(sendmailRoot(), "usr/libexec/sendmail/sendmail") }

// StartMTA starts a Postfix or Sendmail that relays *.relay.example to the sink.
func StartMTA(kind, dir string, sink int) (*MTA, error) {
	milter, err := freePort()
	if err != nil {
		return nil, err
	}
	return startMTA(kind, dir, "mx.test.example", milter, sink)
}

func startMTA(kind, dir, name string, milter, sink int) (*MTA, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	m := &MTA{Kind: kind, Port: port, Milter: milter, Addr: fmt.Sprintf("127.0.0.1:%d", port), dir: dir}
	for _, sub := range []string{"", "conf", "queue", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if err := writeCert(filepath.Join(dir, "conf", "cert.pem")); err != nil {
		return nil, err
	}
	s := settings{Dir: dir, Port: port, Milter: milter, Sink: sink, Name: name, Mailname: "test.example",
		CF: filepath.Join(sendmailRoot(), "usr/share/sendmail/cf"), Certfile: filepath.Join(dir, "conf", "cert.pem")}
	if kind == "postfix" {
		err = m.startPostfix(s)
	} else {
		err = m.startSendmail(s)
	}
	if err == nil {
		err = m.proc.answers(m.Addr, 20*time.Second)
	}
	if err != nil {
		m.Stop()
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return m, nil
}

func (m *MTA) startPostfix(s settings) error {
	conf := filepath.Join(s.Dir, "conf")
	for _, f := range []string{"main.cf", "master.cf"} {
		if err := fill("postfix/"+f, filepath.Join(conf, f), s); err != nil {
			return err
		}
	}
	if err := run("chown", "postfix", filepath.Join(s.Dir, "data")); err != nil {
		return err
	}
	var err error
	m.proc, err = start(nil, "/usr/sbin/postfix", "-c", conf, "start-fg")
	return err
}

// startSendmail runs the daemon in the foreground, in a UTS namespace of its
// own: with a host name without a dot it would sleep for a minute first.
func (m *MTA) startSendmail(s settings) error {
	if err := os.Chmod(filepath.Join(s.Dir, "queue"), 0o700); err != nil {
		return err
	}
	order := "hosts files\naliases files\npasswd files\n"
	if err := os.WriteFile(filepath.Join(s.Dir, "service.switch"), []byte(order), 0o644); err != nil {
		return err
	}
	mc, cf := filepath.Join(s.Dir, "sendmail.mc"), filepath.Join(s.Dir, "sendmail.cf")
	if err := fill("sendmail/sendmail.mc", mc, s); err != nil {
		return err
	}
	m4 := exec.Command("m4", "-D_CF_DIR_="+s.CF+"/", s.CF+"/m4/cf.m4", mc)
	out, err := m4.Output()
	if err != nil {
		return fmt.Errorf("m4: %w", err)
	}
	if err := os.WriteFile(cf, out, 0o644); err != nil {
		return err
	}
	m.proc, err = start(nil, "unshare", "--uts", "sh", "-c", `hostname "$1"; shift; exec "$@"`, "sh",
		s.Name, sendmailBinary(), "-C"+cf, "-D", filepath.Join(s.Dir, "debug"), "-d64.10", "-bD", "-q2s")
	return err
}

// Stop ends the server.
func (m *MTA) Stop() {
	if m.proc != nil {
		if m.Kind == "postfix" {
			// Best effort: Stop below ends what is left.
			_ = exec.Command("/usr/sbin/postfix", "-c", filepath.Join(m.dir, "conf"), "stop").Run()
		}
		m.proc.Stop(10 * time.Second)
	}
}

// Log is what the server logged so far: Postfix's mail log, Sendmail's milter
// trace.
func (m *MTA) Log() string {
	name := "maillog"
	if m.Kind == "sendmail" {
		name = "debug"
	}
	b, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		return ""
	}
	return string(b)
}

// Held counts the messages on hold for recipients in the domain.
func (m *MTA) Held(domain string) (int, error) {
	if m.Kind == "postfix" {
		out, err := exec.Command("/usr/sbin/postqueue", "-c", filepath.Join(m.dir, "conf"), "-j").Output()
		if err != nil {
			return 0, fmt.Errorf("postqueue: %w", err)
		}
		n := 0
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, `"queue_name": "hold"`) && strings.Contains(line, "@"+domain) {
				n++
			}
		}
		return n, nil
	}
	files, err := filepath.Glob(filepath.Join(m.dir, "queue", "hf*"))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "@"+domain) {
			n++
		}
	}
	return n, nil
}

func fill(name, path string, s settings) error {
	t, err := template.ParseFS(templates, name)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, s), f.Close())
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// writeCert makes a self-signed certificate, with its key in the same file, and
// beside it ca.pem without the key.
func writeCert(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.test.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, &t, &t, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return errors.Join(
		os.WriteFile(path, append(private, public...), 0o600),
		os.WriteFile(filepath.Join(filepath.Dir(path), "ca.pem"), public, 0o644))
}
