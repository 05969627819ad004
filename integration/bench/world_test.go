package bench

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"mailwicket/filter"
	dnsclient "mailwicket/filter/dns/client"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/milter"
	"mailwicket/filter/observe"
	"mailwicket/greylist"
	"mailwicket/greylist/redisstore"
	"mailwicket/policy"
	"mailwicket/policy/profile"
)

const clientIP = "203.0.113.7"

const zoneText = `
sender.example.  TXT "v=spf1 ip4:203.0.113.0/24 -all"
_dmarc.sender.example. TXT "v=DMARC1; p=reject; rua=mailto:d@sender.example"
mail.sender.example. A 203.0.113.7
mail.sender.example. TXT "v=spf1 a -all"
7.113.0.203.in-addr.arpa. PTR mail.sender.example.
s1._domainkey.sender.example. TXT "%s" "%s"
`

// world is all that a message meets: a sender with a signing key, the DNS that
// publishes it, and a server with the real engine.
type world struct {
	key    *rsa.PrivateKey
	socket string
}

// newWorld starts a server with the given greylist store; change may add to what
// the engine has.
func newWorld(tb testing.TB, store greylist.Store, change ...func(*filter.Config)) *world {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(tb, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	check(tb, err)
	record := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	zone, err := dnstest.Parse("bench", strings.NewReader(fmt.Sprintf(zoneText, record[:200], record[200:])))
	check(tb, err)
	server, err := dnstest.Serve(zone, "")
	check(tb, err)
	tb.Cleanup(server.Close)
	resolver, err := dnsclient.New(dnsclient.Config{Servers: []string{server.Addr()}})
	check(tb, err)
	tb.Cleanup(resolver.Close)

	w := &world{key: key, socket: socketPath(tb)}
	engine := newEngine(tb, resolver, newGreylist(tb, store), change...)
	serve(tb, w.socket, engine)
	return w
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func socketPath(tb testing.TB) string {
	dir, err := os.MkdirTemp("", "bench")
	check(tb, err)
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "m.sock")
}

// rules are those of the standard profile and greylisting, and more.
func rules(tb testing.TB, more ...policy.Rule) *policy.Policy {
	tb.Helper()
	all, err := profile.Rules("standard")
	check(tb, err)
	all = append(append(more, all...), policy.Rule{Name: "greylist", Auto: true, Do: policy.Action{Greylist: true},
		When: policy.Cond{Leaf: &policy.Leaf{Field: "client.trusted", Match: policy.Match{Op: policy.Is}}}})
	p, problems := policy.Compile(all)
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	return p
}

// newEngine is set up as the app does it for the shipped configuration, with
// greylisting for all.
func newEngine(tb testing.TB, r *dnsclient.Client, g filter.Greylister, change ...func(*filter.Config)) *filter.Engine {
	tb.Helper()
	p := rules(tb)
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	var refs atomic.Int64
	c := filter.Config{
		Policy: p, Resolver: r, Greylist: g, Defers: filter.NewDefers(), AuthservID: "mx.test.example",
		OnError: policy.Tempfail, DKIMMax: 8, Net4: 24, Net6: 64, HeaderBytes: 256 << 10, HeaderFields: 1000,
		CheckTimeout: 20 * time.Second, Now: time.Now, NewRef: func() string { return fmt.Sprint("ref", refs.Add(1)) },
		Log: log, Observer: observe.All{observe.New(prometheus.NewRegistry()), observe.Log{L: log}},
	}
	for _, f := range change {
		f(&c)
	}
	return filter.NewEngine(c)
}

// newGreylist is a service to which the sender is no stranger: its first contact
// was ten minutes ago.
func newGreylist(tb testing.TB, store greylist.Store) *greylist.Service {
	tb.Helper()
	late := time.Duration(0)
	s := greylist.New(greylist.ServiceConfig{Store: store, Secret: []byte("bench"), Budget: 5 * time.Second,
		Now: func() time.Time { return time.Now().Add(late) }})
	tb.Cleanup(s.Close)
	late = -10 * time.Minute
	_, err := s.Check(context.Background(), greylist.Request{
		Identity: greylist.Identity{Kind: greylist.KindSPF, Value: "sender.example"}, Sender: sender, Recipient: recipient})
	check(tb, err)
	late = 0
	return s
}

// serve runs the milter adapter.
func serve(tb testing.TB, socket string, e *filter.Engine) {
	tb.Helper()
	ln, err := net.Listen("unix", socket)
	check(tb, err)
	srv := &milter.Server{
		NewSession: func() milter.Session { return e.Open(context.Background()) },
		Failure:    e.Failure, Limits: milter.DefaultLimits(), Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, ln) }()
	tb.Cleanup(func() {
		cancel()
		check(tb, <-done)
	})
}

// redisStore starts a real server; nil where none is installed.
func redisStore(tb testing.TB) greylist.Store {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil
	}
	dir := filepath.Dir(socketPath(tb))
	sock := filepath.Join(dir, "r.sock")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", sock, "--save", "", "--appendonly", "no", "--dir", dir)
	check(tb, cmd.Start())
	tb.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: sock})
	tb.Cleanup(func() { c.Close() })
	for range 200 {
		if err = c.Ping(context.Background()).Err(); err == nil {
			return redisstore.New(c, "")
		}
		time.Sleep(20 * time.Millisecond)
	}
	tb.Fatal(err)
	return nil
}

const header = "Received: from out.sender.example (out.sender.example [192.0.2.1])\r\n" +
	"\tby mail.sender.example (Postfix) with ESMTPS id 4WQm3h1Jz5z9vTb\r\n" +
	"\tfor <user@rcpt.example>; Tue, 24 Nov 2026 10:00:00 +0000 (UTC)\r\n" +
	"Received: from desk.sender.example (desk.sender.example [192.0.2.77])\r\n" +
	"\tby out.sender.example (Postfix) with ESMTPSA id 4WQm3g5Lz5z2xYc;\r\n" +
	"\tTue, 24 Nov 2026 09:59:59 +0000 (UTC)\r\n" +
	"From: Some Body <some.body@sender.example>\r\n" +
	"To: User <user@rcpt.example>\r\n" +
	"Cc: Other <other@rcpt.example>\r\n" +
	"Subject: The quarterly figures, as promised, with a few remarks\r\n" +
	"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <20261124100000.4711@sender.example>\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"Content-Transfer-Encoding: 8bit\r\n" +
	"User-Agent: Mail 1.0\r\n" +
	"X-Priority: 3\r\n"

// message is signed mail of about size bytes.
func (w *world) message(tb testing.TB, size int) []byte {
	tb.Helper()
	const line = "The quick brown fox jumps over the lazy dog, and so on until the line's end.\r\n"
	var plain, signed bytes.Buffer
	plain.WriteString(header + "\r\n")
	for plain.Len() < size-600 {
		plain.WriteString(line)
	}
	check(tb, msgauth.Sign(&signed, &plain, &msgauth.SignOptions{
		Domain: "sender.example", Selector: "s1", Signer: w.key, Hash: crypto.SHA256,
		HeaderCanonicalization: msgauth.CanonicalizationRelaxed, BodyCanonicalization: msgauth.CanonicalizationRelaxed,
		HeaderKeys: []string{"From", "To", "Cc", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"},
	}))
	return signed.Bytes()
}

// cryptoOnly is the work that no verifier can do without: SHA-256 of the same
// bytes and one RSA verification.
func (w *world) cryptoOnly(tb testing.TB, msg []byte) func() {
	head, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	sum := sha256.Sum256(head)
	sig, err := rsa.SignPKCS1v15(rand.Reader, w.key, crypto.SHA256, sum[:])
	check(tb, err)
	return func() {
		sha256.Sum256(body)
		sum := sha256.Sum256(head)
		check(tb, rsa.VerifyPKCS1v15(&w.key.PublicKey, crypto.SHA256, sum[:], sig))
	}
}
