package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	recent      = time.Hour // so long a loss is told of
	statusLists = "list "   // how the server calls its dependencies
	statusFeeds = "source of list "
	statusZones = "DNS list "
)

// config looks at the file.
func (x *examiner) config() {
	if len(x.Problems) > 0 {
		x.add("config-bad", Finding{Summary: "the configuration has problems", Evidence: x.Problems, Fix: "mend them", Place: "the command line",
			Lines: []string{"mailwicket config check"}})
	}
}

// degraded finds a dependency that does not work.
func (x *examiner) degraded(name string) (Dependency, bool) {
	if x.Server == nil {
		return Dependency{}, false
	}
	i := slices.IndexFunc(x.Server.Degraded, func(d Dependency) bool { return d.Name == name })
	if i < 0 {
		return Dependency{}, false
	}
	return x.Server.Degraded[i], true
}

// server looks at what the running server knows of itself.
func (x *examiner) server() {
	s := x.Server
	if s == nil {
		if x.NoServer != "" {
			x.add("server-down", Finding{Summary: "no running server answered: what only it knows was not looked at", Evidence: []string{x.NoServer},
				Fix: "start it, or name its address and its token", Place: "the command line", Lines: []string{"mailwicket doctor --admin HOST:PORT --token-file FILE"}})
		}
		return
	}
	if s.Reload != "" {
		x.add("reload-failed", Finding{Summary: "the configuration on disk was refused, the old one is in force", Evidence: []string{s.Reload},
			Fix: "mend it; it is read again when it changes", Place: "the command line", Lines: []string{"mailwicket config check"}})
	}
	for _, key := range s.Pending {
		x.add("restart-needed", Finding{Summary: key + " counts from the next start on", Evidence: []string{"it was changed since the start"},
			Fix: "restart the service when it suits", Key: key})
	}
	if s.Fallback != "" {
		x.add("greylist-fallback", Finding{Summary: "greylisting is decided from memory", Evidence: []string{s.Fallback},
			Fix: "look at Redis, or at the disk of data_dir"})
	}
	if j := s.Journal; j.Lost > 0 && x.Now.Sub(j.LastAt) < recent {
		x.add("journal-lost", Finding{Summary: "decisions are not journalled", Key: "journal",
			Evidence: []string{fmt.Sprintf("%d of %d since the start, the last at %s", j.Lost, j.Lost+j.Written, j.LastAt.UTC().Format("15:04 UTC"))},
			Fix:      "look at the disk of data_dir; the log names the cause"})
	}
	if s.AdminOpen != "" {
		x.add("admin-open", Finding{Summary: "other machines may read and change the state without a token", Evidence: []string{"the admin socket is " + s.AdminOpen},
			Fix: "ask for a token, or let the socket unit listen on loopback", Key: "admin.token_file", Lines: []string{"token_file: /etc/mailwicket/admin.token"}})
	}
	x.others(s)
}

// others tells of dependencies that have no finding of their own.
func (x *examiner) others(s *Server) {
	for _, d := range s.Degraded {
		own := d.Name == "dns" || d.Name == "redis" || d.Name == "greylist file" && s.Fallback != ""
		for _, prefix := range []string{statusLists, statusFeeds, statusZones} {
			own = own || strings.HasPrefix(d.Name, prefix)
		}
		if !own {
			x.add("degraded", Finding{Summary: d.Name + " does not work", Evidence: []string{d.Detail}, Fix: "see the detail"})
		}
	}
}

// nearlyFull leaves room to large disks of which a small part is still much, and
// to small ones that never had more.
func nearlyFull(d *Disk) bool {
	return d.Total > 0 && (d.Free < 10<<30 && d.Free < d.Total/20 || d.Free < 1<<30 && d.Free < d.Total/4)
}

// data looks at the place of the state.
func (x *examiner) data() {
	d := x.Disk
	if d == nil {
		return
	}
	if d.Unwritable != "" {
		x.add("data-dir-unwritable", Finding{Summary: "nothing can be written to " + d.Dir, Evidence: []string{d.Unwritable},
			Fix: "make it the filter's own", Key: "data_dir", Place: "the command line", Lines: []string{"chown -R mailwicket: " + d.Dir}})
	}
	if !d.Full && !nearlyFull(d) {
		return
	}
	f := Finding{Summary: "the disk of " + d.Dir + " is nearly full", Fix: "make room, or keep less", Key: "data_dir", Lines: []string{"journal: {keep: 7d, max_size: 512MiB}"}}
	if d.Total > 0 {
		f.Evidence = []string{fmt.Sprintf("%s of %s are free (%.1f %%)", size(d.Free), size(d.Total), 100*float64(d.Free)/float64(d.Total))}
	}
	if d.Full {
		f.Summary = "nothing more can be written to " + d.Dir + ": its disk is full"
		f.Evidence = append(f.Evidence, "writing there ends with: no space, or no quota, is left (df -h, df -i and quota tell which)")
	}
	x.add("data-dir-full", f)
}
