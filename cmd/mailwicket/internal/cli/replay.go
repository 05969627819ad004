package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"mailwicket/cmd/mailwicket/internal/app"
	"mailwicket/cmd/mailwicket/internal/replay"
	"mailwicket/filter/observe/journal"
	"mailwicket/policy/rulefile"
)

type replayCmd struct {
	Config  string `short:"c" required:"" type:"existingfile" help:"The configuration to judge by."`
	Since   string `default:"24h" help:"How far back, such as 90m, 24h or 7d; 0s takes all."`
	Journal string `type:"path" help:"Journal directory, or one file of it; by default that of the configuration's data_dir."`
	JSON    bool   `name:"json" help:"Print data instead of words."`
}

// Run judges journalled decisions again and prints what would change.
func (c replayCmd) Run(s Streams) error {
	cfg, err := loadConfig(c.Config, s)
	if err != nil {
		return err
	}
	back, err := rulefile.ParseDuration(c.Since)
	if err != nil {
		return exitError{exitUsage, "--since: " + err.Error()}
	}
	rules, problems := app.Compile(cfg)
	if len(problems) > 0 {
		return exitError{exitUsage, problems[0].String()}
	}
	dir := c.Journal
	if dir == "" {
		dir = filepath.Join(cfg.DataDir, "journal")
	}
	files, err := journal.Files(dir)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no journal in %s: is data_dir that of the server, and journal.keep over 0s?", dir)
	}
	if err != nil {
		return err
	}
	var since time.Time
	if back > 0 {
		since = time.Now().Add(-back)
	}
	ctx, stop := s.context()
	defer stop()
	report, err := replay.Run(ctx, replay.Policy{Policy: rules, Settings: cfg.Settings()}, files, since, progress(s.Err))
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, report)
	}
	return printReplay(s.Out, report)
}

// progress draws a bar on a terminal, and nothing elsewhere.
func progress(w io.Writer) func(done, all int64) {
	f, ok := w.(*os.File)
	if !ok {
		return func(int64, int64) {}
	}
	if st, err := f.Stat(); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return func(int64, int64) {}
	}
	const width = 40
	return func(done, all int64) {
		n := int(done * width / max(all, 1))
		fmt.Fprintf(f, "\r[%-*s] %3d%%", width, bar[:n], done*100/max(all, 1))
		if done >= all {
			fmt.Fprint(f, "\r\033[K")
		}
	}
}

const bar = "########################################"

func printReplay(w io.Writer, r *replay.Report) error {
	fmt.Fprintf(w, "%d messages with %d decisions judged again in %.2f s (%.0f decisions/s); %d would change\n",
		r.Messages, r.Decisions, r.Seconds, float64(r.Decisions)/max(r.Seconds, 1e-9), r.Changed)
	if r.Rcpts > 0 {
		fmt.Fprintf(w, "%d recipients of other messages would have another answer\n", r.Rcpts)
	}
	if r.Skipped > 0 {
		fmt.Fprintf(w, "%d lines of the journal could not be read\n", r.Skipped)
	}
	if r.Later > 0 {
		fmt.Fprintf(w, "%d lines of the journal are of a later format: judge them with the release that wrote them\n", r.Later)
	}
	if r.Apart > 0 {
		fmt.Fprintf(w, "%d recipients would be asked for in another mail (452 4.5.3), since their rules differ\n", r.Apart)
	}
	for _, l := range r.Lacking {
		fmt.Fprintf(w, "%d messages: %s\n", l.Count, lackingWords(l.Name))
	}
	for _, l := range r.Settings {
		fmt.Fprintf(w, "%d messages: %s\n", l.Count, settingWords(l.Name))
	}
	if r.Changed+r.Rcpts == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	printChanges(t, "MESSAGES", r.Changes)
	printChanges(t, "RECIPIENTS", r.ByRcpt)
	fmt.Fprintln(t, "\nRULE THAT WOULD DECIDE\tTIMES")
	for _, c := range r.Rules {
		fmt.Fprintf(t, "%s\t%d\n", c.Name, c.Count)
	}
	fmt.Fprintln(t, "\nSENDER DOMAIN\tMESSAGES")
	for _, c := range r.Senders {
		fmt.Fprintf(t, "%s\t%d\n", c.Name, c.Count)
	}
	return t.Flush()
}

func printChanges(w io.Writer, of string, changes []replay.Change) {
	if len(changes) == 0 {
		return
	}
	fmt.Fprintf(w, "\nWAS\tWOULD BE\t%s\tFOR EXAMPLE\n", of)
	for _, c := range changes {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", c.Old, c.New, c.Count, c.Examples)
	}
}

// settingWords says what follows from a setting that was otherwise.
func settingWords(name string) string {
	kind, which, _ := strings.Cut(name, ".")
	switch kind {
	case "":
		return "recorded by an earlier version, which did not note its lists, DNS lists, limits and settings: where yours are others, the verdict is not known"
	case "list":
		return "the list " + which + " was not there, or was another: what it would say is not known, the verdict is the one without it"
	case "dnsbl":
		return "the DNS list " + which + " was not asked, or otherwise: what it would say is not known, the verdict is the one without it"
	case "rate":
		return "the limit " + which + " was not there, or was another: whether it would be exceeded is not known"
	}
	return "recorded under another " + kind + " section: what hangs on it is as it was"
}

func lackingWords(what string) string {
	if check, ok := strings.CutPrefix(what, "check "); ok {
		return "the new rules ask for the check " + check + ", which was not made: what it would find is not known, the verdict is the one without it"
	}
	switch what {
	case "content":
		return "the new rules would let them go on, but their content was never sent: what then would be decided is not known"
	case "links":
		return "the new rules ask for links in the body, which nobody looked for: the verdict is the one without them"
	case "hidden":
		return "the journal is redacted, and the new rules ask for what it hides: the verdict is not known, and not counted"
	case "greylist":
		return "the new rules would ask the greylist, which was not asked: its answer is not known, the verdict is the one without it"
	}
	return what
}
