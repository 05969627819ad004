package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/redisstore/redisurl"
	"mailwicket/greylist/storetest"
)

// processEnv makes the test binary a sidecar over the Redis that it names.
const processEnv = "REDISSTORE_SIDECAR"

// question asks a sidecar about contacts, all at one time, in any order.
type question struct {
	At       time.Time
	Contacts []contact
}

// contact is one of an identity's senders. Each identity has several.
type contact struct{ Identity, Sender int }

func (c contact) request() greylist.Request {
	return storetest.Request(c.Identity, fmt.Sprintf("<%c@example.org>", 'a'+c.Sender), "<user@example.net>")
}

// serve is the sidecar's side: questions as JSON on in, outcomes on out.
func serve(url string, in io.Reader, out io.Writer) error {
	o, err := redisurl.Parse(url)
	if err != nil {
		return err
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Minute, time.Minute, time.Minute, time.Minute
	c := redis.NewUniversalClient(o)
	defer c.Close()
	var q question
	v := greylist.New(greylist.ServiceConfig{Store: New(c, ""), Secret: []byte("secret"), Budget: time.Minute, Now: func() time.Time { return q.At }})
	defer v.Close()
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		next := question{}
		if err := questions.Decode(&next); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		q = next
		outcomes, err := answer(v, q.Contacts)
		if err != nil {
			return err
		}
		if err := answers.Encode(outcomes); err != nil {
			return err
		}
	}
}

// answer asks for all contacts, four at a time.
func answer(v *greylist.Service, contacts []contact) ([]greylist.Outcome, error) {
	outcomes, errs := make([]greylist.Outcome, len(contacts)), make([]error, len(contacts))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := g; i < len(contacts); i += 4 {
				outcomes[i], errs[i] = v.Check(context.Background(), contacts[i].request())
			}
		})
	}
	wg.Wait()
	return outcomes, errors.Join(errs...)
}

// process is one sidecar process, from the test's side.
type process struct {
	to   *json.Encoder
	from *json.Decoder
}

func startProcess(t *testing.T, url string) process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), processEnv+"="+url), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("sidecar: %v", err)
		}
	})
	return process{json.NewEncoder(in), json.NewDecoder(out)}
}

// Eight processes decide about the same senders at the same moments. Their answers
// must be those that one process could have given, asked one question after the
// other: whatever may pass passes, nothing else does, nothing is forgotten, and
// an identity's passes count an hour apart.
func TestProcesses(t *testing.T) {
	const processes, identities, senders, steps = 8, 100, 3, 30
	url := "redis://" + redistest.Start(t).Addr
	var all []process
	for range processes {
		all = append(all, startProcess(t, url))
	}
	random := rand.New(rand.NewPCG(1, 2))
	m := newOracle(storetest.NewClock().Now())
	for step := range steps {
		some := short
		if step > steps*2/3 {
			some = long
		}
		m.at = m.at.Add(some[random.IntN(len(some))])
		questions := make([]question, processes)
		for i := range questions {
			questions[i] = question{At: m.at, Contacts: someContacts(random, identities*(step+1)/steps, senders)}
		}
		m.judge(t, questions, askAll(t, all, questions))
	}
	m.compare(t, storetest.Service(t, New(patient(t, url), ""), nil))
	t.Logf("%d decisions by %d processes: %d deferred, %d passed, %d of them first, %d known", m.asked, processes,
		m.counts[greylist.Defer], m.counts[greylist.Pass], m.first, m.counts[greylist.Known])
	for _, s := range []greylist.Status{greylist.Defer, greylist.Pass, greylist.Known} {
		if m.counts[s] == 0 {
			t.Errorf("no answer was %s", s)
		}
	}
}

// Pauses between the steps: about the minute and the delay, later about the hour.
var (
	short = []time.Duration{0, time.Second, 59 * time.Second, time.Minute, 119 * time.Second, 2 * time.Minute, 179 * time.Second,
		240*time.Second - time.Millisecond, 240 * time.Second}
	long = []time.Duration{time.Second, 240 * time.Second, 30 * time.Minute, time.Hour - time.Millisecond, time.Hour}
)

// someContacts draws about half of all, in any order.
func someContacts(r *rand.Rand, identities, senders int) (out []contact) {
	for i := range identities {
		for s := range senders {
			if r.IntN(2) == 0 {
				out = append(out, contact{i, s})
			}
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// askAll puts each process its question, all at once.
func askAll(t *testing.T, all []process, questions []question) [][]greylist.Outcome {
	t.Helper()
	out := make([][]greylist.Outcome, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() {
			err := p.to.Encode(questions[i])
			if err == nil {
				err = p.from.Decode(&out[i])
			}
			if err != nil || len(out[i]) != len(questions[i].Contacts) {
				t.Errorf("process %d: %v, %d outcomes", i, err, len(out[i]))
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return out
}

// oracle says the rules once more, about all processes as one.
type oracle struct {
	at       time.Time
	triplets map[contact]*seenTriplet
	passes   map[int][]time.Time // of identities, as counted
	asked    int
	first    int
	counts   map[greylist.Status]int
}

type seenTriplet struct {
	first  time.Time
	passed bool
	vague  bool // it came when its identity was known, or became so: it may be stored or not
}

func newOracle(at time.Time) *oracle {
	return &oracle{at: at, triplets: map[contact]*seenTriplet{}, passes: map[int][]time.Time{}, counts: map[greylist.Status]int{}}
}

// judge looks at the answers of one moment.
func (m *oracle) judge(t *testing.T, questions []question, answers [][]greylist.Outcome) {
	t.Helper()
	told := map[contact][]greylist.Outcome{}
	for i, q := range questions {
		for j, c := range q.Contacts {
			told[c] = append(told[c], answers[i][j])
		}
	}
	own, passing := map[contact]greylist.Status{}, map[int]bool{}
	for c := range told {
		own[c] = m.own(c)
		passing[c.Identity] = passing[c.Identity] || own[c] == greylist.Pass
	}
	known, becomes := map[int]bool{}, map[int]bool{}
	for c := range told {
		n := len(m.passes[c.Identity])
		known[c.Identity] = n >= greylist.DefaultParams().AutoAllowAfter
		becomes[c.Identity] = n == greylist.DefaultParams().AutoAllowAfter-1 && passing[c.Identity] && m.countable(c.Identity)
	}
	for c, outcomes := range told {
		m.judgeTriplet(t, c, own[c], known[c.Identity], becomes[c.Identity], outcomes)
	}
	for id, k := range known {
		if (k || passing[id]) && m.countable(id) {
			m.passes[id] = append(m.passes[id], m.at)
		}
	}
}

// own is the answer to a contact of an identity that is not known.
func (m *oracle) own(c contact) greylist.Status {
	s := m.triplets[c]
	if s != nil && (s.passed || m.at.Sub(s.first) >= greylist.DefaultParams().Delay) {
		return greylist.Pass
	}
	return greylist.Defer
}

func (m *oracle) countable(id int) bool {
	p := m.passes[id]
	return len(p) == 0 || m.at.Sub(p[len(p)-1]) >= greylist.PassGap
}

func (m *oracle) judgeTriplet(t *testing.T, c contact, own greylist.Status, known, becomes bool, outcomes []greylist.Outcome) {
	t.Helper()
	s := m.triplets[c]
	if s == nil {
		s = &seenTriplet{first: m.at, vague: known || becomes}
		m.triplets[c] = s
	}
	delayed, begun := 0, 0
	for _, o := range outcomes {
		m.asked++
		m.counts[o.Status]++
		if fits := o.Status == own && !known || o.Status == greylist.Known && (known || becomes); !fits || o.Degraded {
			t.Errorf("%v at %s: %+v, want %s (known %v, becoming known %v)", c, m.at, o, own, known, becomes)
		}
		if o.Status != greylist.Known && !o.FirstSeen.Equal(s.first) {
			t.Errorf("%v at %s: first seen %s, want %s", c, m.at, o.FirstSeen, s.first)
		}
		if o.Delayed > 0 {
			delayed++
		}
		if o.Status == greylist.Defer && o.Attempts == 1 {
			begun++
		}
	}
	firstPass := own == greylist.Pass && !s.passed && !known
	if firstPass && !becomes && delayed != 1 || delayed > 1 || !firstPass && delayed > 0 {
		t.Errorf("%v at %s: %d answers with the delay, first pass %v", c, m.at, delayed, firstPass)
	}
	if first := s.first.Equal(m.at); begun > 1 || !first && begun > 0 {
		t.Errorf("%v at %s: %d first contacts", c, m.at, begun)
	}
	m.first += delayed
	s.passed = s.passed || delayed > 0
}

// compare looks at what is stored in the end.
func (m *oracle) compare(t *testing.T, v *greylist.Service) {
	t.Helper()
	for c, s := range m.triplets {
		_, held, err := v.Lookup(t.Context(), c.request())
		if err != nil || int(held.Identity.Passes) != len(m.passes[c.Identity]) {
			t.Errorf("%v: identity %+v, %v, want %d passes", c, held.Identity, err, len(m.passes[c.Identity]))
		}
		if !s.vague && (!held.Triplet.FirstSeen.Equal(s.first) || held.Triplet.Passes > 0 != s.passed) {
			t.Errorf("%v: triplet %+v, want first seen %s, passed %v", c, held.Triplet, s.first, s.passed)
		}
	}
	if got := slices.Max(lengths(m.passes)); got < 3 {
		t.Errorf("no identity had more than %d passes", got)
	}
}

func lengths(m map[int][]time.Time) (n []int) {
	for _, v := range m {
		n = append(n, len(v))
	}
	return n
}
