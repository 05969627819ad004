package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/user"
	"slices"
	"strings"

	"mailwicket/cmd/mailwicket/internal/api"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/list"
)

type listCmd struct {
	Status  listStatusCmd  `cmd:"" help:"Say how each list stands."`
	Lookup  listLookupCmd  `cmd:"" help:"Say which lists have a name or an address, by which entry, and what is done about it."`
	Add     listAddCmd     `cmd:"" help:"Add entries to a list in Redis; every filter sees them at once."`
	Remove  listRemoveCmd  `cmd:"" help:"Take entries out of a list in Redis."`
	Confirm listConfirmCmd `cmd:"" help:"Let a feed whose size was refused pass, once."`
}

type listStatusCmd struct {
	server
	JSON bool `name:"json" help:"Print data instead of a table."`
}

func (c listStatusCmd) Run(s Streams) error {
	var all []list.Status
	if err := c.ask(http.MethodGet, "/api/list/status", nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, all)
	}
	err := table(s.Out, "LIST\tTYPE\tENTRIES\tBAD LINES\tLOADED\tSOURCE\tTROUBLE", func(w io.Writer) {
		for _, l := range all {
			trouble := l.Err
			if trouble == "" {
				trouble = l.LastError
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", l.Name, l.Kind, l.Entries, l.Bad, when(l.Loaded), l.Source, trouble)
		}
	})
	if err != nil || !slices.ContainsFunc(all, func(l list.Status) bool { return len(l.BadLines) > 0 }) {
		return err
	}
	fmt.Fprintln(s.Out)
	return table(s.Out, "LIST\tLINE\tBAD FOR\tTEXT", func(w io.Writer) {
		for _, l := range all {
			for _, b := range l.BadLines {
				fmt.Fprintf(w, "%s\t%d\t%s\t%q\n", l.Name, b.Number, b.Why, b.Text)
			}
		}
	})
}

type listLookupCmd struct {
	server
	Value string `arg:"" help:"Domain, network address or mail address."`
	JSON  bool   `name:"json" help:"Print data instead of a table."`
}

func (c listLookupCmd) Run(s Streams) error {
	var found []api.ListFound
	if err := c.ask(http.MethodGet, "/api/list/lookup", url.Values{"value": {c.Value}}, &found); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, found)
	}
	if len(found) == 0 {
		fmt.Fprintf(s.Out, "%s is on no list\n", c.Value)
		return nil
	}
	return table(s.Out, "LIST\tENTRY\tWHERE\tDOES\tAT\tCOMMENT", func(w io.Writer) {
		for _, f := range found {
			where := f.Source
			if f.Line > 0 {
				where += fmt.Sprintf(":%d", f.Line)
			}
			does := f.Do
			if f.Mode != "enforce" {
				does += " (" + f.Mode + ")"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", f.List, f.Entry, where, does, points(f.Apply), f.Comment)
		}
	})
}

func points(ps []list.Point) string {
	var out []string
	for _, p := range ps {
		out = append(out, string(p))
	}
	return strings.Join(out, " ")
}

type listAddCmd struct {
	server
	List    string   `arg:"" help:"Name of the list."`
	Entries []string `arg:"" help:"Names or addresses."`
	Comment string   `help:"Why; shown with each hit."`
}

func (c listAddCmd) Run(s Streams) error {
	by := ""
	if u, err := user.Current(); err == nil {
		by = u.Username
	}
	return c.edit(s.Out, "add", api.ListEdit{List: c.List, Entries: c.Entries, Comment: c.Comment, By: by})
}

type listRemoveCmd struct {
	server
	List    string   `arg:"" help:"Name of the list."`
	Entries []string `arg:"" help:"Entries as list lookup shows them."`
}

func (c listRemoveCmd) Run(s Streams) error {
	return c.edit(s.Out, "remove", api.ListEdit{List: c.List, Entries: c.Entries})
}

// edit sends one change and tells how much of it was new.
func (c server) edit(w io.Writer, what string, e api.ListEdit) error {
	var got struct{ Changed int }
	if err := c.post("/api/list/"+what, e, &got); err != nil {
		return err
	}
	verb := map[string]string{"add": "added", "remove": "removed"}[what]
	fmt.Fprintf(w, "%d of %d %s\n", got.Changed, len(e.Entries), verb)
	return nil
}

type listConfirmCmd struct {
	server
	List string `arg:"" help:"Name of the feed."`
}

func (c listConfirmCmd) Run(s Streams) error {
	if err := c.ask(http.MethodPost, "/api/list/confirm", url.Values{"list": {c.List}}, nil); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s: the next copy of about that size is taken\n", c.List)
	return nil
}

type dnsblCmd struct {
	Status dnsblStatusCmd `cmd:"" help:"Say how each DNS list stands."`
	Lookup dnsblLookupCmd `cmd:"" help:"Ask all DNS lists about an address or a name."`
}

type dnsblStatusCmd struct {
	server
	JSON bool `name:"json" help:"Print data instead of a table."`
}

func (c dnsblStatusCmd) Run(s Streams) error {
	var all []dnsbl.ZoneStatus
	if err := c.ask(http.MethodGet, "/api/dnsbl/status", nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, all)
	}
	return table(s.Out, "NAME\tZONE\tIN SERVICE\tSINCE\tASKED\tHITS\tUNKNOWN CODES\tERRORS\tWHY NOT", func(w io.Writer) {
		for _, z := range all {
			fmt.Fprintf(w, "%s\t%s\t%v\t%s\t%d\t%d\t%d\t%d\t%s\n", z.Name, z.Zone, z.OK, when(z.Since), z.Lookups, z.Hits, z.Unknown, z.Errors, z.Why)
		}
	})
}

type dnsblLookupCmd struct {
	server
	Value string `arg:"" help:"Network address or domain."`
	JSON  bool   `name:"json" help:"Print data instead of a table."`
}

func (c dnsblLookupCmd) Run(s Streams) error {
	var all []dnsbl.Answer
	if err := c.ask(http.MethodGet, "/api/dnsbl/lookup", url.Values{"value": {c.Value}}, &all); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, all)
	}
	return table(s.Out, "NAME\tASKED\tOUTCOME\tCODES\tWHY", func(w io.Writer) {
		for _, a := range all {
			why := a.Why
			for _, h := range a.Hits {
				why = strings.TrimSpace(why + " " + h.Comment)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.Name, a.Asked, a.Outcome, strings.Join(a.Codes, " "), why)
		}
	})
}
