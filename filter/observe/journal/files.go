package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A file's name tells when it was begun. Its records are of that day, in UTC.
const (
	prefix = "decisions-"
	suffix = ".jsonl"
	began  = "20060102T150405.000000000"
	dayOf  = "20060102"
)

func fileName(dir string, t time.Time) string {
	return filepath.Join(dir, prefix+t.UTC().Format(began)+suffix)
}

// Oldest tells how far back a journal goes: files that leave no room go before
// their time is over. It is not ok where there is none.
func Oldest(dir string) (t time.Time, ok bool) {
	files, err := Files(dir)
	if err != nil || len(files) == 0 {
		return time.Time{}, false
	}
	return begunAt(files[0])
}

// begunAt tells when a file was begun. It is not ok for files whose name is not of
// our making.
func begunAt(name string) (t time.Time, ok bool) {
	s := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), prefix), suffix)
	t, err := time.Parse(began, s)
	return t, err == nil
}

// endOf gives the moment before which a file's records were written. It is not ok
// for files whose name is not of our making.
func endOf(name string) (end time.Time, ok bool) {
	t, ok := begunAt(name)
	if !ok {
		return time.Time{}, false
	}
	return t.Truncate(24 * time.Hour).Add(24 * time.Hour), true
}

// Files lists a journal's files, oldest first. A directory that is not there has
// none; a file, perhaps copied from elsewhere, is a journal by itself.
func Files(dir string) ([]string, error) {
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		return []string{dir}, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if n := e.Name(); e.Type().IsRegular() && strings.HasPrefix(n, prefix) && strings.HasSuffix(n, suffix) {
			out = append(out, filepath.Join(dir, n))
		}
	}
	slices.Sort(out)
	return out, nil
}

// writer holds the open file.
type writer struct {
	c      Config
	f      *os.File
	name   string
	day    string
	size   int64 // of the open file
	others int64 // of the files before it
}

// append writes a line to the file of the day, or to a new one.
func (w *writer) append(b []byte) error {
	now := w.c.Now().UTC()
	need := int64(len(b))
	if w.f != nil && (now.Format(dayOf) != w.day || w.size > 0 && w.size+need > w.c.MaxFile || w.gone()) {
		w.close()
	}
	if w.f == nil {
		if err := w.begin(now); err != nil {
			return err
		}
	}
	if w.others > 0 && w.others+w.size+need > w.c.MaxAll {
		w.sweep(now, w.size+need)
	}
	n, err := w.f.Write(b)
	if err != nil {
		w.undo(n)
		return err
	}
	w.size += need
	return nil
}

// undo takes the beginning of a line back, so that the file can be used further
// when the disk has room again. A new file for each attempt would fill it with
// empty ones. Where the file does not end where we wrote, somebody has cut it, to
// free the disk: then the next line goes to another.
func (w *writer) undo(written int) {
	if written == 0 {
		return
	}
	end := w.size + int64(written)
	if st, err := w.f.Stat(); err != nil || st.Size() != end || w.f.Truncate(w.size) != nil {
		w.close()
	}
}

// gone tells whether somebody deleted the file, perhaps to free the disk: what is
// written to it would be lost.
func (w *writer) gone() bool {
	_, err := os.Lstat(w.name)
	return errors.Is(err, fs.ErrNotExist)
}

func (w *writer) begin(now time.Time) error {
	w.sweep(now, 0)
	for t := now; ; t = t.Add(1) {
		name := fileName(w.c.Dir, t)
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o640)
		if errors.Is(err, fs.ErrExist) {
			continue // the clock stood still
		}
		if errors.Is(err, fs.ErrNotExist) && os.Mkdir(w.c.Dir, dirMode) == nil {
			// Somebody removed the directory, to be rid of the files. What lies above it
			// is not made: it may be a disk that is gone.
			f, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o640)
		}
		if err != nil {
			return err
		}
		w.f, w.name, w.size, w.day = f, name, 0, now.Format(dayOf)
		return nil
	}
}

func (w *writer) close() {
	if w.f != nil {
		w.f.Close()
		w.f, w.name, w.size = nil, "", 0
	}
}

// tidy deletes what is too old, also while no mail comes.
func (w *writer) tidy() {
	now := w.c.Now().UTC()
	if w.f != nil && now.Format(dayOf) != w.day {
		w.close()
	}
	w.sweep(now, w.size)
}

// sweep deletes files that are too old, and the oldest while they leave no room
// for need bytes. The open file and files that bear other names are left alone.
func (w *writer) sweep(now time.Time, need int64) {
	files, err := Files(w.c.Dir)
	if err != nil {
		return // the next write tells
	}
	w.others = 0
	full := false
	for _, name := range slices.Backward(files) {
		end, ours := endOf(name)
		st, err := os.Stat(name)
		if !ours || name == w.name || err != nil {
			continue
		}
		full = full || need+w.others+st.Size() > w.c.MaxAll
		if (full || now.Sub(end) > w.c.Keep) && os.Remove(name) == nil {
			continue
		}
		w.others += st.Size()
	}
}
