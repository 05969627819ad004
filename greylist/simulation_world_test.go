package greylist_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mailwicket/filter/mail"
)

// The world of the simulation: who writes to a site of about a hundred mailboxes,
// how often, from where, and what they do when they are deferred. The howto
// greylisting.md says where the numbers are from.

// contact is what a greylist sees of one attempt to deliver.
type contact struct {
	at       time.Time
	ip       netip.Addr
	host     string // forward-confirmed name, "" if there is none
	spf      string // domain that SPF passed for, "" if it did not
	from, to mail.Address
	body     uint64 // equal where the bodies begin alike
	scored   bool   // a content filter holds it for suspicious (rspamd: 4 points or more)
}

// letter is one message with all attempts that its sender would make.
type letter struct {
	class  *class
	sent   time.Duration // since the start
	draft  contact       // without time and address
	tries  []time.Duration
	places []place       // of the tries
	use    time.Duration // it is worth nothing after that; 0: always worth something
}

// place is an address that sends, with its name.
type place struct {
	ip   netip.Addr
	host string
}

// class is a kind of sender.
type class struct {
	name string
	spam bool
	day  float64 // messages a day
	make func(w *world, at time.Duration) *letter
}

type world struct {
	r       *rand.Rand
	rcpts   []mail.Address
	classes []*class
	letters []*letter
}

const (
	mailboxes  = 100
	spamFactor = 2.0 // spam for each wanted message
)

// newWorld draws all mail of so many days. The same seed gives the same mail.
func newWorld(seed uint64, days int) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 1))}
	for i := range mailboxes {
		w.rcpts = append(w.rcpts, mail.ParsePath(fmt.Sprintf("user%s@home.example", letters(i))))
	}
	wanted := w.legitimate(days)
	w.spam(wanted * spamFactor)
	end := time.Duration(days) * day
	for _, c := range w.classes {
		if c.day <= 0 {
			continue
		}
		// A Poisson process: the pauses are exponential.
		for at := w.pause(c.day); at < end; at += w.pause(c.day) {
			w.add(c, c.make(w, at))
		}
	}
	return w
}

const day = 24 * time.Hour

func (w *world) pause(perDay float64) time.Duration {
	return time.Duration(w.r.ExpFloat64() / perDay * float64(day))
}

func (w *world) add(c *class, l *letter) {
	l.class = c
	w.letters = append(w.letters, l)
}

// letters writes a number without digits, which normalizing would blur.
func letters(i int) string {
	s := ""
	for ; i > 0 || s == ""; i /= 26 {
		s = string(rune('a'+i%26)) + s
	}
	return s
}

// some draws from a few often and from many seldom, as people correspond.
func (w *world) some(n int) int { return int(w.r.Float64() * w.r.Float64() * float64(n)) }

func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.r.Int64N(int64(b-a)+1))
}

// friend is who a correspondent writes to: each has three recipients.
func (w *world) friend(sender int) mail.Address {
	return w.rcpts[(sender*7+w.r.IntN(3)*31)%len(w.rcpts)]
}

// pool is a set of addresses that share a queue.
type pool struct {
	places []place
	next   int // round robin; -1: at random
}

// newPool spreads n addresses over networks; the name has a %d for the number.
func newPool(base string, n, networks int, name string, robin bool) *pool {
	p := &pool{next: -1}
	if robin {
		p.next = 0
	}
	b := netip.MustParseAddr(base).As4()
	for i := range n {
		a := b
		a[2] += byte(i % networks)
		a[3] = byte(10 + i/networks)
		p.places = append(p.places, place{netip.AddrFrom4(a), fmt.Sprintf(name, i)})
	}
	return p
}

func (p *pool) draw(w *world, n int) []place {
	out := make([]place, n)
	for i := range out {
		if p.next < 0 {
			out[i] = p.places[w.r.IntN(len(p.places))]
			continue
		}
		out[i] = p.places[p.next%len(p.places)]
		p.next++
	}
	return out
}

// host is a server with one address.
func (w *world) host(kind byte, i int, name string) *pool {
	ip := netip.AddrFrom4([4]byte{kind, byte(i >> 8), byte(i), byte(20 + i%200)})
	return &pool{places: []place{{ip, name}}, next: -1}
}

// send makes a message with a schedule.
func (w *world) send(at time.Duration, p *pool, from string, to mail.Address, spf string, tries []time.Duration) *letter {
	return &letter{sent: at, tries: tries, places: p.draw(w, len(tries)+1),
		draft: contact{from: mail.ParsePath(from), to: to, spf: spf, body: w.r.Uint64(), scored: w.chance(0.01)}}
}

func (w *world) chance(p float64) bool { return w.r.Float64() < p }

// Schedules: the times of retries after the first attempt.

// postfix: minimal_backoff_time 300 s doubling to maximal_backoff_time 4000 s, for
// five days; the queue is looked through every 300 s.
func (w *world) postfix() []time.Duration {
	var out []time.Duration
	phase := w.between(0, 300*time.Second)
	due, wait := time.Duration(0), 300*time.Second
	for due < 5*day {
		due += wait
		run := phase + ((due-phase)/(300*time.Second)+1)*300*time.Second
		out, due = append(out, run), run
		wait = min(2*wait, 4000*time.Second)
	}
	return out
}

// exim: every 15 min for 2 h, then 1 h * 1.5 until 16 h, then every 6 h until 4 d.
func (w *world) exim() []time.Duration {
	var out []time.Duration
	at := w.between(0, time.Minute)
	for at < 2*time.Hour {
		at += 15 * time.Minute
		out = append(out, at)
	}
	for wait := time.Hour; at < 16*time.Hour; wait += wait / 2 {
		at += wait
		out = append(out, at)
	}
	for at < 4*day {
		at += 6 * time.Hour
		out = append(out, at)
	}
	return out
}

// steady repeats at one pace, with the jitter of a queue.
func (w *world) steady(pace, end time.Duration) []time.Duration {
	var out []time.Duration
	for at := pace; at < end; at += pace {
		out = append(out, at+w.between(0, 20*time.Second))
	}
	return out
}

// doubling starts with a pause and doubles it up to most.
func (w *world) doubling(first, most, end time.Duration) []time.Duration {
	var out []time.Duration
	for at, wait := first, first; at < end; at += wait {
		out = append(out, at+w.between(0, 20*time.Second))
		wait = min(2*wait, most)
	}
	return out
}

// gmail as measured by Pagani et al. (DSN 2016), and hourly after that.
func (w *world) gmail() []time.Duration {
	out := []time.Duration{362 * time.Second, 1742 * time.Second, 3396 * time.Second, 5924 * time.Second, 9723 * time.Second}
	for at := 4 * time.Hour; at < 3*day; at += time.Hour {
		out = append(out, at)
	}
	return out
}

// outlook: every 15 minutes, after an hour every hour, for a day.
func (w *world) outlook() []time.Duration {
	out := w.steady(15*time.Minute, 61*time.Minute)
	for at := 2 * time.Hour; at <= day; at += time.Hour {
		out = append(out, at)
	}
	return out
}

// token is a number that is made anew for each message.
func (w *world) token() string { return fmt.Sprintf("%016x", w.r.Uint64()) }

func verp(a mail.Address) string { return strings.Replace(a.String(), "@", "=", 1) }

// legitimate adds the wanted mail, and tells how much that is a day.
func (w *world) legitimate(days int) float64 {
	google := newPool("20.1.0.0", 200, 20, "mail-ed1-f%d.gmail-like.example", false)
	outlook := newPool("20.2.0.0", 200, 40, "mail-eopbgr%d.outbound.protection.outlook-like.example", false)
	amazon := newPool("20.3.0.0", 200, 20, "a8-%d.smtp-out.amazon-like.example", false)
	esp := newPool("20.4.0.0", 15, 15, "o%d.sg.esp-like.example", true)
	campaign := func(w *world, c int, to mail.Address) (from, spf string) {
		d := fmt.Sprintf("em%d.%s-customer.example", 1000+c, letters(c))
		return fmt.Sprintf("bounces+%d-%s-%s@%s", 1000+c, w.token()[:4], verp(to), d), d
	}
	w.classes = []*class{
		{"freemail, pool of 200", false, 125, func(w *world, at time.Duration) *letter {
			s := w.some(1500)
			return w.send(at, google, letters(s)+"@gmail-like.example", w.friend(s), "gmail-like.example", w.gmail())
		}},
		{"domains on that pool", false, 50, func(w *world, at time.Duration) *letter {
			s := w.some(150)
			d := letters(s) + "-hosted.example"
			return w.send(at, google, "info@"+d, w.friend(s), d, w.gmail())
		}},
		{"domains on a second pool of 200", false, 150, func(w *world, at time.Duration) *letter {
			s := w.some(500)
			d := letters(s/2) + "-tenant.example"
			return w.send(at, outlook, letters(s)+"@"+d, w.friend(s), d, w.outlook())
		}},
		{"mass mailer, pool of 15, VERP", false, 100, func(w *world, at time.Duration) *letter {
			c := w.some(80)
			to := w.friend(c)
			from, spf := campaign(w, c, to)
			return w.send(at, esp, from, to, spf, w.doubling(5*time.Minute, 8*time.Hour, 3*day))
		}},
		{"cloud mailer, pool of 200, unique senders", false, 50, func(w *world, at time.Duration) *letter {
			c := w.some(60)
			d := "amazon-like.example"
			if c%2 == 0 {
				d = "mail." + letters(c) + "-shop.example"
			}
			return w.send(at, amazon, w.token()+"-000000@"+d, w.friend(c), d, w.doubling(5*time.Minute, 4*time.Hour, 12*time.Hour))
		}},
		{"Postfix hosts", false, 125, w.company(40, 300, "mail", true, w.postfix)},
		{"Exim hosts", false, 30, w.company(41, 80, "server", true, w.exim)},
		{"Exchange hosts", false, 40, w.company(42, 80, "mx", true, func() []time.Duration { return w.steady(10*time.Minute, 2*day) })},
		{"hosts without SPF", false, 20, w.company(43, 50, "mail", false, w.postfix)},
		{"hosts without a name", false, 8, w.company(44, 25, "", true, w.postfix)},
		{"hosts with a dynamic-looking name", false, 5, w.company(45, 20, "dsl", true, w.postfix)},
		{"forwarders", false, 20, func(w *world, at time.Duration) *letter {
			f, s := w.r.IntN(4), w.some(400)
			return w.send(at, w.host(46, f, "mx.alumni"+letters(f)+".example"), letters(s)+"@elsewhere"+letters(s/3)+".example", w.rcpts[f*3], "", w.postfix())
		}},
		{"mailing lists", false, 75, func(w *world, at time.Duration) *letter {
			l := w.r.IntN(10)
			to, d := w.rcpts[(l*13+w.r.IntN(8))%mailboxes], "lists."+letters(l)+"-list.example"
			out := w.send(at, w.host(47, l, d), fmt.Sprintf("list-bounces-%d-%s@%s", int(at/time.Hour), verp(to), d), to, d, w.postfix())
			out.draft.body = uint64(l)<<32 | uint64(at/time.Hour) // the same for all subscribers
			return out
		}},
		{"login codes", false, 20, func(w *world, at time.Duration) *letter { return w.code(at, esp, amazon, campaign) }},
		{"monthly newsletters", false, 0, nil},
	}
	sum := 0.0
	for _, c := range w.classes {
		sum += c.day
	}
	return sum + w.newsletters(days, esp, campaign)/float64(days)
}

// company makes mail of small senders with a server each. Without a name, every
// second has no SPF record either; of those with dynamic-looking names every
// third.
func (w *world) company(kind byte, n int, name string, spf bool, schedule func() []time.Duration) func(*world, time.Duration) *letter {
	return func(w *world, at time.Duration) *letter {
		s := w.some(n * 3) // three people a company
		i := s / 3
		d := fmt.Sprintf("%s-%d.example", letters(i), kind)
		h := w.host(kind, i, "")
		pass, scored := d, w.chance(0.01)
		switch name {
		case "":
			if i%2 == 0 {
				pass, scored = "", true // 4.5 points for the missing name alone
			}
		case "dsl":
			a := h.places[0].ip.As4()
			h.places[0].host = fmt.Sprintf("dsl-%d-%d-%d-%d.access.example", a[0], a[1], a[2], a[3])
			if i%3 == 0 {
				pass, scored = "", w.chance(0.5)
			}
		default:
			h.places[0].host = name + "." + d
		}
		if !spf {
			pass = ""
		}
		l := w.send(at, h, letters(s)+"@"+d, w.friend(s), pass, schedule())
		l.draft.scored = scored
		return l
	}
}

// code makes mail that is worth nothing after ten minutes.
func (w *world) code(at time.Duration, esp, amazon *pool, campaign func(*world, int, mail.Address) (string, string)) *letter {
	c := 200 + w.some(100)
	to := w.rcpts[w.r.IntN(mailboxes)]
	d := letters(c) + "-login.example"
	var l *letter
	switch {
	case c%20 < 10:
		from, spf := campaign(w, c, to)
		l = w.send(at, esp, from, to, spf, w.doubling(5*time.Minute, 8*time.Hour, 3*day))
	case c%20 < 14:
		l = w.send(at, amazon, w.token()+"-000000@amazon-like.example", to, "amazon-like.example", w.doubling(5*time.Minute, 4*time.Hour, 12*time.Hour))
	case c%20 < 19:
		l = w.send(at, w.host(48, c, "mail."+d), "no-reply@"+d, to, d, w.postfix())
	default:
		l = w.send(at, w.host(49, c, "mail."+d), "no-reply@"+d, to, "", w.postfix())
	}
	l.use = 10 * time.Minute
	return l
}

// newsletters adds what comes once in four weeks, and tells how many messages.
func (w *world) newsletters(days int, esp *pool, campaign func(*world, int, mail.Address) (string, string)) float64 {
	c := w.classes[slices.IndexFunc(w.classes, func(c *class) bool { return c.name == "monthly newsletters" })]
	n := 0
	for i := range 40 {
		for date := 1; date < days; date += 28 {
			at := time.Duration(date)*day + time.Duration(i)*17*time.Minute
			for range 8 {
				to := w.rcpts[(i*13+n)%mailboxes]
				d := letters(i) + "-news.example"
				var l *letter
				if i%2 == 0 {
					from, spf := campaign(w, 400+i, to)
					l = w.send(at, esp, from, to, spf, w.doubling(5*time.Minute, 8*time.Hour, 3*day))
				} else {
					l = w.send(at, w.host(50, i, "news."+d), "news-"+verp(to)+"@"+d, to, d, w.exim())
				}
				l.draft.scored = w.chance(0.03)
				w.add(c, l)
				n++
			}
		}
	}
	return float64(n)
}

// spam adds the unwanted mail: so many messages a day.
func (w *world) spam(perDay float64) {
	for _, c := range []*class{
		{"bots that never retry", true, 0.36, func(w *world, at time.Duration) *letter { return w.bot(at) }},
		{"bots that retry at once", true, 0.31, func(w *world, at time.Duration) *letter {
			return w.bot(at, 5*time.Second, 15*time.Second, 50*time.Second)
		}},
		{"bots that retry after 10 minutes", true, 0.06, func(w *world, at time.Duration) *letter { return w.bot(at, 10*time.Minute) }},
		{"bots that retry for a day", true, 0.06, func(w *world, at time.Duration) *letter {
			return w.bot(at, w.between(300*time.Second, 600*time.Second), w.between(80000*time.Second, 90000*time.Second))
		}},
		{"snowshoe", true, 0.10, snowshoe},
		{"accounts taken over", true, 0.05, func(w *world, at time.Duration) *letter {
			l := w.company(40, 300, "mail", true, w.postfix)(w, at)
			l.draft.to, l.draft.scored = w.rcpts[w.r.IntN(mailboxes)], w.chance(0.4)
			return l
		}},
		{"web servers taken over", true, 0.06, func(w *world, at time.Duration) *letter {
			i := w.r.IntN(2000)
			l := w.send(at, w.host(60, i, "web."+letters(i)+"-hosting.example"), letters(w.r.IntN(1e6))+"@forged.example",
				w.rcpts[w.r.IntN(mailboxes)], "", w.postfix())
			l.draft.scored = w.chance(0.6)
			return l
		}},
	} {
		c.day *= perDay
		w.classes = append(w.classes, c)
	}
}

// bot is an infected machine: mostly at an access line, with a forged sender.
func (w *world) bot(at time.Duration, tries ...time.Duration) *letter {
	a := [4]byte{byte(70 + w.r.IntN(80)), byte(w.r.IntN(256)), byte(w.r.IntN(256)), byte(w.r.IntN(256))}
	// Three in ten have no name, one in ten a business line's, one in twenty a
	// number: the rest look dynamic.
	name, provider := "", fmt.Sprintf("provider%s.example", letters(int(a[0])%40))
	switch k := w.r.IntN(20); {
	case k < 6:
	case k < 17:
		name = fmt.Sprintf("dsl-%d-%d-%d-%d.%s", a[0], a[1], a[2], a[3], provider)
	case k < 19:
		name = fmt.Sprintf("static-%d-%d-%d-%d.%s", a[0], a[1], a[2], a[3], provider)
	default:
		name = fmt.Sprintf("host%d.%s", w.r.IntN(1e6), provider)
	}
	p := &pool{places: []place{{netip.AddrFrom4(a), name}}, next: -1}
	l := w.send(at, p, letters(w.r.IntN(1e7))+"@forged"+letters(w.r.IntN(5000))+".example", w.rcpts[w.r.IntN(mailboxes)], "", tries)
	l.draft.scored = w.chance(0.95)
	if w.chance(0.25) { // one text for the whole campaign of two days
		l.draft.body = uint64(at/(2*day))<<8 | uint64(w.r.IntN(20))
	}
	return l
}

// snowshoe is spam spread thin over many rented addresses: with names, SPF and a
// real queue, whose retries come from another address. A domain lives two days.
func snowshoe(w *world, at time.Duration) *letter {
	d := fmt.Sprintf("%s-offers.example", letters(int(at/(2*day))*4+w.r.IntN(4)))
	n := byte(at / (2 * day))
	p := newPool(fmt.Sprintf("180.%d.%d.0", n, 16*w.r.IntN(4)), 48, 3, "mta%d."+d, false)
	l := w.send(at, p, "news"+w.token()[:6]+"@"+d, w.rcpts[w.r.IntN(mailboxes)], d, w.doubling(15*time.Minute, 2*time.Hour, 8*time.Hour))
	l.draft.scored = w.chance(0.6)
	return l
}
