package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"mailwicket/cmd/mailwicket/internal/api"
	"mailwicket/cmd/mailwicket/internal/triplets"
)

type greylistCmd struct {
	List   greylistListCmd   `cmd:"" help:"List what is stored. Identities that are organizations have names; all else is hashed."`
	Show   greylistShowCmd   `cmd:"" help:"Say what is known of an identity, a key or a mail, what would happen now, and when a retry passes."`
	Allow  greylistAllowCmd  `cmd:"" help:"Never keep an identity waiting."`
	Forget greylistForgetCmd `cmd:"" help:"Forget an identity with all its triplets, or one triplet by its key."`
	Import greylistImportCmd `cmd:"" help:"Take over the triplets of another greylist, such as postgrey's, so that nobody waits again."`
}

type greylistListCmd struct {
	server
	Kind  string `enum:",identity,triplet" default:"" help:"Only identities, or only triplets (identity, triplet)."`
	Name  string `placeholder:"TEXT" help:"Only identities whose name holds this text."`
	Limit int    `default:"100" help:"How many to list at most; 0 lists all."`
	JSON  bool   `name:"json" help:"Print data instead of a table."`
}

// Run asks for page after page until there are enough.
func (c greylistListCmd) Run(s Streams) error {
	q := url.Values{"kind": {c.Kind}, "name": {c.Name}, "n": {"500"}}
	all, more := []api.GreylistEntry{}, false
	for {
		var page api.GreylistPage
		if err := c.ask(http.MethodGet, "/api/greylist", q, &page); err != nil {
			return err
		}
		all = append(all, page.Entries...)
		more = page.Next != ""
		if !more || c.Limit > 0 && len(all) > c.Limit {
			break
		}
		q.Set("cursor", page.Next)
	}
	if c.Limit > 0 && len(all) > c.Limit {
		all, more = all[:c.Limit], true
	}
	if c.JSON {
		return printJSON(s.Out, all)
	}
	if err := printEntries(s.Out, all); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(s.Err, "There are more: --limit 0 lists all.\n")
	}
	return nil
}

func printEntries(w io.Writer, all []api.GreylistEntry) error {
	if len(all) == 0 {
		fmt.Fprintln(w, "nothing is stored that fits")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tNAME\tSTATE\tATTEMPTS\tPASSES\tFIRST SEEN\tLAST SEEN\tEXPIRES\tKEY")
	for _, e := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", e.Kind, dash(e.Name), e.State, dash(count(e.Attempts)), e.Passes,
			stamp(e.FirstSeen), stamp(e.LastSeen), stamp(e.Expires), e.Key)
	}
	return t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func count(n uint32) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

type greylistShowCmd struct {
	server
	What string `arg:"" optional:"" name:"identity|key" help:"Such as spf:example.org, host:example.org, net:192.0.2.0/24, addr:192.0.2.1, or a key of the list."`
	IP   string `name:"ip" help:"Client address of a mail."`
	Helo string `help:"Its HELO name."`
	From string `help:"Its envelope sender; '<>' for the null sender."`
	Rcpt string `help:"Its envelope recipient."`
	JSON bool   `name:"json" help:"Print data instead of words."`
}

// Run tells, and changes nothing.
func (c greylistShowCmd) Run(s Streams) error {
	byMail := c.IP != "" || c.From != "" || c.Rcpt != "" || c.Helo != ""
	switch {
	case byMail == (c.What != ""):
		return exitError{exitUsage, "want either an identity or key, or a mail: --ip, --from and --rcpt (and --helo)"}
	case byMail && (c.IP == "" || c.From == "" || c.Rcpt == ""):
		return exitError{exitUsage, "a mail needs --ip, --from ('<>' for the null sender) and --rcpt"}
	}
	q := url.Values{"what": {c.What}}
	if byMail {
		q = url.Values{"ip": {c.IP}, "helo": {c.Helo}, "from": {c.From}, "rcpt": {c.Rcpt}}
	}
	var st api.GreylistStory
	if err := c.ask(http.MethodGet, "/api/greylist/show", q, &st); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, st)
	}
	return printGreylistStory(s.Out, st)
}

func printGreylistStory(w io.Writer, st api.GreylistStory) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "identity\t%s\n", dash(st.Identity))
	fmt.Fprintf(t, "key\t%s\n", st.Key)
	if m := st.Mail; m != nil {
		fmt.Fprintf(t, "facts\tiprev %s, looks dynamic: %s, spf %s\n", strings.Join(append([]string{dash(m.IPrev)}, m.Names...), " "), yesNo(m.Dynamic), dash(m.SPF))
	}
	fmt.Fprintf(t, "client\t%s\n", record(st.Client))
	byMail := strings.Contains(st.Key, ".")
	if byMail {
		fmt.Fprintf(t, "triplet\t%s\n", record(st.Triplet))
	}
	fmt.Fprintf(t, "now\t%s\n", nowWords(st, byMail))
	if m := st.Mail; m != nil {
		fmt.Fprintf(t, "policy\t%s\n", policyWords(m))
	}
	return t.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func record(e *api.GreylistEntry) string {
	if e == nil {
		return "nothing is stored"
	}
	s := fmt.Sprintf("%s, first seen %s, last seen %s, forgotten %s", e.State, stamp(e.FirstSeen), stamp(e.LastSeen), stamp(e.Expires))
	if e.Attempts > 0 {
		s += fmt.Sprintf(", attempts %d", e.Attempts)
	}
	return s + fmt.Sprintf(", passes %d", e.Passes)
}

// nowWords says what the greylist would answer at this moment.
func nowWords(st api.GreylistStory, byMail bool) string {
	switch {
	case st.Status == "known":
		return "passes at once: the client is known"
	case st.Status == "pass":
		return "passes: the triplet has waited long enough"
	case !byMail:
		return fmt.Sprintf("waits %d seconds with the first mail from a sender to a recipient", st.Remaining)
	case st.New:
		return fmt.Sprintf("waits: this would be the first contact; a retry passes after %d seconds", st.Remaining)
	}
	return fmt.Sprintf("waits: a retry passes in %d seconds, from %s until %s", st.Remaining, stamp(st.RetryFrom), stamp(st.RetryUntil))
}

func policyWords(m *api.GreylistMail) string {
	words := "does not ask the greylist for such mail"
	if m.Asked {
		words = "asks the greylist"
	}
	words += "; up to the recipient the verdict is " + m.Verdict
	if m.Rule != "" {
		words += " by rule " + m.Rule
	}
	if m.Reason != "" {
		words += " (" + m.Reason + ")"
	}
	return words
}

type greylistAllowCmd struct {
	server
	Identity string `arg:"" help:"Such as spf:example.org, host:example.org, net:192.0.2.0/24 or addr:192.0.2.1; greylist show tells which one a mail has."`
}

// Run lets an identity through from now on.
func (c greylistAllowCmd) Run(s Streams) error {
	var got struct{ Identity string }
	if err := c.ask(http.MethodPost, "/api/greylist/allow", url.Values{"identity": {c.Identity}}, &got); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s is allowed, until: mailwicket greylist forget %s\n", got.Identity, got.Identity)
	return nil
}

type greylistForgetCmd struct {
	server
	What string `arg:"" name:"identity|key" help:"An identity as for allow, or a key of the list."`
}

// Run removes records: their mail is greylisted anew.
func (c greylistForgetCmd) Run(s Streams) error {
	var got struct {
		What    string
		Removed int
	}
	if err := c.ask(http.MethodPost, "/api/greylist/forget", url.Values{"what": {c.What}}, &got); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s is forgotten: %d records removed\n", got.What, got.Removed)
	return nil
}

type greylistImportCmd struct {
	server
	File string `arg:"" help:"Lines of IP SENDER RECIPIENT [LAST SEEN], or what db_dump -p prints of postgrey.db; - for standard input."`
	JSON bool   `name:"json" help:"Print data instead of words."`
}

// importReport is what an import did.
type importReport struct {
	Read       int                  `json:"read"`
	Remembered int                  `json:"remembered"`
	Waiting    int                  `json:"not_passed"` // the other greylist had not let them through yet
	Expired    int                  `json:"expired"`
	Bad        []api.GreylistBadRow `json:"bad"`
}

// Run sends triplets in batches, each remembered as passed.
func (c greylistImportCmd) Run(s Streams) error {
	found, bad, err := c.read(s.In)
	if err != nil {
		return exitError{exitUsage, err.Error()}
	}
	rep := importReport{Read: len(found) + len(bad), Bad: []api.GreylistBadRow{}}
	for _, b := range bad {
		rep.Bad = append(rep.Bad, api.GreylistBadRow(b))
	}
	var batch []api.GreylistTriplet
	bar := progress(s.Err)
	for i, t := range found {
		if t.Passed {
			batch = append(batch, api.GreylistTriplet{Line: t.Line, IP: t.Client.String(), Sender: t.Sender, Recipient: t.Recipient, First: t.First, Last: t.Last})
		} else {
			rep.Waiting++
		}
		if len(batch) < api.MaxImport && i+1 < len(found) {
			continue
		}
		if err := c.send(batch, &rep); err != nil {
			return fmt.Errorf("line %d and those after it were not sent, the ones before were (to repeat all does no harm): %w", batch[0].Line, err)
		}
		batch = nil
		bar(int64(i+1), int64(len(found)))
	}
	if c.JSON {
		return printJSON(s.Out, rep)
	}
	rep.print(s)
	if rep.Read > 0 && len(rep.Bad) == rep.Read {
		return errors.New("no line could be read")
	}
	return nil
}

func (c greylistImportCmd) read(stdin io.Reader) ([]triplets.Triplet, []triplets.Bad, error) {
	if c.File == "-" {
		return triplets.Read(stdin)
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	found, bad, err := triplets.Read(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.File, err)
	}
	return found, bad, err
}

func (c greylistImportCmd) send(batch []api.GreylistTriplet, rep *importReport) error {
	if len(batch) == 0 {
		return nil
	}
	var done api.GreylistImported
	if err := c.post("/api/greylist/import", batch, &done); err != nil {
		return err
	}
	rep.Remembered += done.Remembered
	rep.Expired += done.Expired
	rep.Bad = append(rep.Bad, done.Bad...)
	return nil
}

// maxBadShown is how many bad lines are told one by one.
const maxBadShown = 20

func (rep importReport) print(s Streams) {
	for i, b := range rep.Bad {
		if i == maxBadShown {
			fmt.Fprintf(s.Err, "and %d more; --json tells all\n", len(rep.Bad)-i)
			break
		}
		fmt.Fprintf(s.Err, "line %d: %s\n", b.Line, b.Why)
	}
	fmt.Fprintf(s.Out, "%d triplets remembered as passed; %d left out: %d had not passed there, %d are too old, %d lines are bad\n",
		rep.Remembered, rep.Waiting+rep.Expired+len(rep.Bad), rep.Waiting, rep.Expired, len(rep.Bad))
}
