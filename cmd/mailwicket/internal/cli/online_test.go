package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mailwicket/filter/dns/dnstest"
	"mailwicket/greylist/redisstore/redistest"
)

// dnsServer answers from a zone.
func dnsServer(t *testing.T, zone string) string {
	t.Helper()
	srv, err := dnstest.Serve(dnstest.MustParse(zone), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return srv.Addr()
}

// TestConfigCheckOnline: what does not answer is a problem of the line that names it.
func TestConfigCheckOnline(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte("evil.example\n"))
	}))
	defer web.Close()
	dns := dnsServer(t, "2.0.0.127.zen.example. A 127.0.0.2\n*.no.example. A 127.255.255.254\n")
	redis := redistest.Start(t) // keeps nothing on disk: a warning
	nobody := redistest.FreeAddr(t)
	file := write(t, "m.yaml", `dns: {servers: ["`+dns+`", "`+nobody+`"], timeout: 300ms}
dnsbl:
  - {zone: zen.example, type: ip, codes: {127.0.0.2: x}}
  - {zone: no.example, type: ip, codes: {127.0.0.2: x}}
lists:
  - {name: good, type: domain, url: "`+web.URL+`/l"}
  - {name: gone, type: domain, url: "`+web.URL+`/gone"}
redis: {url: "redis://`+redis.Addr+`"}
`)
	status, _, errs := run("config", "check", "--online", file)
	var got []string
	for line := range strings.Lines(errs) {
		got = append(got, strings.TrimSpace(strings.ReplaceAll(line, file, "m.yaml")))
	}
	for i, want := range []string{
		"warning: m.yaml:8:9: redis.url: Redis keeps nothing on disk",
		"m.yaml:1:" + "", "m.yaml:4:5: dnsbl[1]: the DNS list no.example refuses our questions: answered 127.255.255.254",
		"m.yaml:7:5: lists[1]: the feed of list gone cannot be had: the server answers 404 Not Found",
		"mailwicket: 3 problems in the configuration",
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("line %d is not %q:\n%s", i, want, strings.Join(got, "\n"))
		}
	}
	if status != 2 || len(got) != 5 || !strings.Contains(got[1], "dns.servers[1]: the DNS server "+nobody+" does not answer") {
		t.Errorf("status %d:\n%s", status, strings.Join(got, "\n"))
	}
	fine := write(t, "m.yaml", "dns: {servers: [\""+dns+"\"]}\ndnsbl: [{zone: zen.example, type: ip, codes: {127.0.0.2: x}}]\n")
	if status, out, errs := run("config", "check", "--online", fine); status != 0 || errs != "" {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}
