package cli

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailwicket/greylist/redisstore/redistest"
)

const reloadConf = `milter: {listen: ["inet:127.0.0.1:0"]}
admin: {listen: "127.0.0.1:0"}
dns: {servers: ["127.0.0.1:9"], timeout: 50ms}
profile: standard
rules: [{name: first, when: {helo.name: none.example}, do: reject}]
`

// put writes a file as a careful editor does, by a rename, and with the time of
// the one before, as some installers do.
func put(t *testing.T, file, text string) {
	t.Helper()
	st, err := os.Stat(file)
	if err == nil {
		err = os.WriteFile(file+".new", []byte(text), 0o600)
	}
	if err == nil {
		err = os.Chtimes(file+".new", st.ModTime(), st.ModTime())
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestConfigWatched: what is put in the place of the configuration is taken, by
// whatever means it comes, and what can only be an accident is not.
func TestConfigWatched(t *testing.T) {
	s := serve(t, reloadConf)
	file := filepath.Join(s.dir, "mailwicket.yaml")
	times := func(result string, want int) {
		t.Helper()
		line := fmt.Sprintf("mailwicket_config_reloads_total{result=%q} %d\n", result, want)
		redistest.Await(t, line, func() bool { _, page := s.get("/metrics"); return strings.Contains(page, line) })
	}
	put(t, file, strings.Replace(reloadConf, "none.example", "same.example", 1)) // of the same length
	times("ok", 1)
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	times("error", 1)
	if !strings.Contains(s.out.String(), "gives no key any more") {
		t.Errorf("the log does not say why:\n%s", s.out.String())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(s.dir, "elsewhere.yaml")
	if err := os.WriteFile(target, []byte(reloadConf+"log: {level: error}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, file); err != nil {
		t.Fatal(err)
	}
	times("ok", 2)
	put(t, target, reloadConf+"log: {level: error}\njournal: {keep: 1h}\n")
	times("ok", 3)
	if _, err := http.Post("http://"+s.admin+"/api/reload", "", nil); err != nil {
		t.Fatal(err)
	}
	times("ok", 4)
	if out := s.out.String(); strings.Count(out, "configuration taken") != 2 || strings.Contains(out, "journal.keep") {
		t.Errorf("log.level is not taken:\n%s", out)
	}
	times("error", 1)
}

// TestReloadAtStart: who asks while the server still starts is answered when it
// runs, and a change of that moment is not missed.
func TestReloadAtStart(t *testing.T) {
	for name, ask := range map[string]func(){
		"signal": func() { _ = syscall.Kill(os.Getpid(), syscall.SIGHUP) },
		"file":   func() {},
	} {
		t.Run(name, func(t *testing.T) {
			silent, err := net.Listen("tcp", "127.0.0.1:0") // a Redis that makes the start last
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			conf := reloadConf + "redis: {url: \"redis://" + silent.Addr().String() + "\"}\n"
			dir := t.TempDir()
			go func() {
				c, err := silent.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				file := filepath.Join(dir, "mailwicket.yaml")
				if os.WriteFile(file, []byte(strings.Replace(conf, "profile: standard", "profile: observe", 1)), 0o600) == nil {
					ask()
				}
				time.Sleep(3 * time.Second)
			}()
			s := serveIn(t, dir, conf)
			redistest.Await(t, "the other profile", func() bool {
				return strings.Contains(s.out.String(), "configuration taken") && strings.Contains(s.out.String(), "profile=observe")
			})
		})
	}
}
