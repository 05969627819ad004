package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"

	"mailwicket/filter/dns/dnstest"
)

// World holds what all cases share. Its methods are safe for concurrent use;
// the cases of one MTA run one after the other.
type World struct {
	Sink *Sink

	bin, dir string
	keys     keys
	mu       sync.Mutex
	mtas     map[string]*lane
	senders  map[string]*lane // who bring mail to the MTAs; locked by mu
	redis    *Process
	redisURL string
	seq      int
}

// lane is an MTA with the right to use it.
type lane struct {
	mu  sync.Mutex
	mta *MTA
	err error
}

// NewWorld makes a world for a program; Close ends all of it.
func NewWorld(bin string) (*World, error) {
	dir, err := os.MkdirTemp("/run", "mw") // not /tmp: Sendmail wants no world-writable parents
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	w := &World{bin: bin, dir: dir, mtas: map[string]*lane{}, senders: map[string]*lane{}}
	w.Sink, err = NewSink()
	return w, err
}

// Close ends the servers and removes their files.
func (w *World) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range []map[string]*lane{w.senders, w.mtas} {
		for _, l := range all {
			if l.mta != nil {
				l.mta.Stop()
			}
		}
	}
	if w.redis != nil {
		w.redis.Stop(5 * time.Second)
	}
	w.Sink.Close()
	return os.RemoveAll(w.dir)
}

// lane gives the MTA of a kind, started when it is first asked for.
func (w *World) lane(kind string) *lane {
	w.mu.Lock()
	l := w.mtas[kind]
	if l == nil {
		l = &lane{}
		w.mtas[kind] = l
	}
	w.mu.Unlock()
	l.mu.Lock()
	if l.mta == nil && l.err == nil {
		l.mta, l.err = StartMTA(kind, filepath.Join(w.dir, kind), w.Sink.Port())
	}
	return l
}

// Redis starts the shared Redis when it is first asked for and gives its URL.
func (w *World) Redis() (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.redis != nil {
		return w.redisURL, nil
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	p, err := start(nil, "redis-server", "--port", fmt.Sprint(port), "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", w.dir)
	if err != nil {
		return "", err
	}
	w.redis, w.redisURL = p, fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	return w.redisURL, p.answers(fmt.Sprintf("127.0.0.1:%d", port), 10*time.Second)
}

// HasRedis tells whether Redis can be run here.
func HasRedis() bool {
	_, err := exec.LookPath("redis-server")
	return err == nil
}

// id gives each run of a case a name of its own: it is the first label of the
// recipients' domain, so that no message is taken for another case's.
func (w *World) id() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq++
	return fmt.Sprintf("c%d", w.seq)
}

// baseConfig makes the loopback clients strangers and leaves greylisting to
// the cases that want it.
const baseConfig = `
trusted: {networks: [192.0.2.99/32]}
greylist: {scope: "off"}
`

// baseZone is the DNS that each case starts with: a good sender and the names
// of the clients. Postfix sees 203.0.113.7 (by XCLIENT), Sendmail 127.0.0.7.
const baseZone = `
example                    TXT   "none"
good.example               MX    10 mail.good.example
good.example               TXT   "v=spf1 ip4:203.0.113.7 ip4:127.0.0.7 -all"
mail.good.example          A     203.0.113.7
mail.good.example          A     127.0.0.7
mail.good.example          TXT   "v=spf1 ip4:203.0.113.7 ip4:127.0.0.7 -all"
7.113.0.203.in-addr.arpa   PTR   mail.good.example.
7.0.0.127.in-addr.arpa     PTR   mail.good.example.
`

// stage is one run of one case.
type stage struct {
	world    *World
	c        *Case
	mta      *MTA
	dir      string // of the configuration
	filter   *Filter
	vars     *strings.Replacer
	domain   string // of the recipients
	messages map[string][]byte
	sent     [][]byte
	logFrom  int // where the MTA's log stood before
}

// Play runs a case on an MTA. The error tells what was not as wanted, with the
// filter's log.
func (w *World) Play(c *Case, kind string) error {
	l := w.lane(kind)
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	id := w.id()
	s := &stage{world: w, c: c, mta: l.mta, dir: filepath.Join(w.dir, id), domain: id + ".relay.example", messages: map[string][]byte{}, logFrom: len(l.mta.Log())}
	dir := s.dir
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	url := ""
	if c.Redis {
		var err error
		if url, err = w.Redis(); err != nil {
			return err
		}
	}
	s.vars = strings.NewReplacer("{to}", s.domain, "{id}", id, "{dir}", dir, "{redis}", url, "{mta}", kind)
	zone, err := s.prepare(dir)
	if err != nil {
		return err
	}
	defer zone.Close()
	config, err := s.config(s.c.config, zone.Addr())
	if err != nil {
		return err
	}
	for _, f := range s.c.files {
		if err := s.writeConfig(f[0], f[1], zone.Addr()); err != nil {
			return err
		}
	}
	if s.filter, err = startFilter(w.bin, dir, l.mta.Milter, config); err != nil {
		return err
	}
	defer s.filter.Stop(10 * time.Second)
	if err := s.act(); err != nil {
		return fmt.Errorf("%w\n--- the filter's log:\n%s--- the MTA's log:\n%s", err, s.filter.Output(), tail(s.mtaLog(), 40))
	}
	return nil
}

// prepare writes the lists, signs the messages and serves the zone.
func (s *stage) prepare(dir string) (*dnstest.Server, error) {
	for name, text := range s.c.lists {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for name, text := range s.c.messages {
		s.messages[name] = message(s.vars.Replace(text))
	}
	published, err := s.world.keys.sign(s.c.sign, s.messages)
	if err != nil {
		return nil, err
	}
	zone, err := dnstest.Parse(s.c.Name, strings.NewReader(baseZone+s.c.zone+published))
	if err != nil {
		return nil, err
	}
	return dnstest.Serve(zone, "")
}

func (s *stage) config(text, dns string) (map[string]any, error) {
	base := map[string]any{}
	if err := yaml.Unmarshal([]byte(baseConfig), &base); err != nil {
		return nil, err
	}
	base["dns"] = map[string]any{"servers": []any{dns}}
	own := map[string]any{}
	if err := yaml.Unmarshal([]byte(s.vars.Replace(text)), &own); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return merge(base, own), nil
}

// writeConfig puts a further configuration beside the first one.
func (s *stage) writeConfig(name, text, dns string) error {
	config, err := s.config(text, dns)
	if err != nil {
		return err
	}
	b, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, name), b, 0o644)
}

// act plays the dialogue and looks at all that came of it.
func (s *stage) act() error {
	p := player{stage: s}
	err := p.play(lines(s.c.dialogue, s.mta.Kind))
	p.quit()
	if err == nil {
		err = errors.Join(s.checkDelivered(), s.checkLogs(), s.checkMetrics())
	}
	for _, bad := range []string{"DATA RACE", "panic:", "goroutine 1 ["} {
		if strings.Contains(s.filter.Output(), bad) {
			err = errors.Join(err, fmt.Errorf("the filter's output has %q", bad))
		}
	}
	return err
}

func (s *stage) mtaLog() string { return s.mta.Log()[s.logFrom:] }

func tail(s string, n int) string {
	all := strings.SplitAfter(s, "\n")
	return strings.Join(all[max(0, len(all)-n):], "")
}
