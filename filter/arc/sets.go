package arc

import (
	"errors"
	"fmt"
	"strings"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/mail"
)

// The three fields of a set (RFC 8617, 4.1).
const (
	aar = iota
	ams
	as
	kinds
)

var kindNames = [kinds]string{"arc-authentication-results", "arc-message-signature", "arc-seal"}

// set is the fields of one instance.
type set struct {
	at      [kinds]int // positions in the header
	have    [kinds]bool
	payload string // of the results, after the instance
	seal    *sig.Signature
	msg     *sig.Signature
	msgErr  error // why msg is of no use
	cv      string
}

var (
	errTooLarge = errors.New("header is too large")
	errInstance = errors.New("malformed instance number")
)

// collect finds the sets of a header and checks their structure (RFC 8617, 5.2,
// steps 1 to 3).
func collect(h mail.Header) ([]set, error) {
	var sets [MaxInstances]set
	size, highest, any := 0, 0, false
	for i := range h {
		size += len(h[i].Name) + len(h[i].Value) + 3
		kind := kindOf(h[i].Name)
		if kind < 0 {
			continue
		}
		any = true
		n, err := place(&sets, h, i, kind)
		if err != nil {
			return nil, err
		}
		highest = max(highest, n)
	}
	if any && (size > sig.MaxHeader || len(h) > sig.MaxFields) {
		return nil, errTooLarge
	}
	for i := range sets[:highest] {
		for k, have := range sets[i].have {
			if !have {
				return nil, fmt.Errorf("%s %d is missing", kindNames[k], i+1)
			}
		}
	}
	return sets[:highest], chain(sets[:highest])
}

func kindOf(name string) int {
	name = mail.FoldName(name)
	for k, n := range kindNames {
		if n == name {
			return k
		}
	}
	return -1
}

// place reads the field at position i of the header into its set, and gives the
// instance.
func place(sets *[MaxInstances]set, h mail.Header, i, kind int) (int, error) {
	var s set
	var n int
	var err error
	var tags sig.Tags
	switch kind {
	case aar:
		n, s.payload, err = parseResults(h[i].Value)
	case ams:
		s.msg, s.msgErr = parseMessage(h[i])
		tags = s.msg.Tags
	case as:
		s.seal, err = sig.ParseSeal(h[i])
		tags = s.seal.Tags
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", kindNames[kind], err)
	}
	if kind != aar {
		id, _ := tags.Get("i")
		if n, err = instance(id); err != nil {
			return 0, fmt.Errorf("%s: %w", kindNames[kind], err)
		}
	}
	to := &sets[n-1]
	if to.have[kind] {
		return 0, fmt.Errorf("%s %d is there twice", kindNames[kind], n)
	}
	to.have[kind], to.at[kind] = true, i
	switch kind {
	case aar:
		to.payload = s.payload
	case ams:
		to.msg, to.msgErr = s.msg, s.msgErr
	case as:
		to.seal = s.seal
		cv, _ := tags.Get("cv")
		to.cv = strings.ToLower(cv)
		if _, ok := tags.Get("h"); ok {
			return 0, errors.New("arc-seal: h= is forbidden") // RFC 8617, 4.1.3
		}
	}
	return n, nil
}

// parseMessage reads a message signature. It may not cover seals (RFC 8617,
// 4.1.2).
func parseMessage(f mail.Field) (*sig.Signature, error) {
	m, err := sig.ParseMessage(f)
	if err != nil {
		return m, err
	}
	for _, n := range m.Names {
		if n == kindNames[as] {
			return m, errors.New("h= names arc-seal")
		}
	}
	return m, nil
}

// instance reads 1*2DIGIT from 1 to 50 (RFC 8617, 4.2.1).
func instance(s string) (int, error) {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' || i > 1 {
			return 0, errInstance
		}
		n = 10*n + int(s[i]-'0')
	}
	if n < 1 || n > MaxInstances {
		return 0, errInstance
	}
	return n, nil
}

// parseResults takes the instance off an ARC-Authentication-Results field:
// [CFWS] "i" [CFWS] "=" [CFWS] 1*2DIGIT [CFWS] ";" (RFC 8617, 4.1.1).
func parseResults(v string) (int, string, error) {
	if len(v) > 64<<10 {
		return 0, "", errTooLarge
	}
	s := skipCFWS(v)
	if s == "" || s[0] != 'i' {
		return 0, "", errInstance
	}
	s = skipCFWS(s[1:])
	if s == "" || s[0] != '=' {
		return 0, "", errInstance
	}
	s = skipCFWS(s[1:])
	d := 0
	for d < len(s) && s[d] >= '0' && s[d] <= '9' {
		d++
	}
	n, err := instance(s[:d])
	if err != nil {
		return 0, "", err
	}
	s = skipCFWS(s[d:])
	if s == "" || s[0] != ';' {
		return 0, "", errInstance
	}
	return n, s[1:], nil
}

// skipCFWS passes over white space and comments (RFC 5322, 3.2.2). A comment
// without end is left standing.
func skipCFWS(s string) string {
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" || s[0] != '(' {
			return s
		}
		end := commentEnd(s)
		if end < 0 {
			return s
		}
		s = s[end:]
	}
}

func commentEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// chain checks the chain validation statuses (RFC 8617, 5.2, steps 2 and 3).
func chain(sets []set) error {
	if n := len(sets); n > 0 && sets[n-1].cv == "fail" {
		return fmt.Errorf("seal %d says that the chain failed before", n)
	}
	for i := range sets {
		want := "pass"
		if i == 0 {
			want = "none"
		}
		if sets[i].cv != want {
			return fmt.Errorf("seal %d does not say cv=%s", i+1, want)
		}
	}
	return nil
}

// newest checks what can be known of the newest message signature before the
// body comes: it must hold for the chain to pass.
func newest(sets []set, opt Options) error {
	n := len(sets)
	err := sets[n-1].msgErr
	if err == nil {
		err = sets[n-1].msg.InTime(opt.Now, opt.Skew)
	}
	if err != nil {
		return fmt.Errorf("message signature %d: %w", n, err)
	}
	return nil
}

// lookup is the records at the name of a key, on their way.
type lookup struct {
	pending chan struct{}
	txts    []string
	err     error
}

func lookupName(s *sig.Signature) string { return s.Selector + "._domainkey." + s.Domain }

// ask starts the lookup of a signature's key, unless it is under way.
func (v *Verification) ask(r sig.TXTResolver, s *sig.Signature) {
	name := lookupName(s)
	if v.keys[name] != nil {
		return
	}
	l := &lookup{pending: make(chan struct{})}
	v.keys[name] = l
	ctx, domain, selector := v.ctx, s.Domain, s.Selector
	go func() {
		defer close(l.pending)
		l.txts, l.err = sig.LookupRecords(ctx, r, domain, selector)
	}()
}

var errNoAnswer = fmt.Errorf("%w: no answer for the key in time", sig.ErrTemporary)

// key waits for a signature's key until the context's end.
func (v *Verification) key(s *sig.Signature) (*sig.Key, error) {
	l := v.keys[lookupName(s)]
	select {
	case <-l.pending:
	default:
		select {
		case <-l.pending:
		case <-v.ctx.Done():
			return nil, errNoAnswer
		}
	}
	if l.err != nil {
		return nil, l.err
	}
	return sig.SelectKey(l.txts, s.Algorithm)
}

func isTemporary(err error) bool { return errors.Is(err, sig.ErrTemporary) }
