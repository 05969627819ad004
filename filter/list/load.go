package list

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime/debug"

	"mailwicket/filter/list/scan"
)

// Kinds of errors of Load, beside those of package fs.
var (
	ErrMostlyBad = scan.ErrMostlyBad
	ErrEmptied   = errors.New("the file is empty but had entries before")
	ErrChanging  = errors.New("the file changed while it was read")
	ErrTooLarge  = scan.ErrTooLarge
	ErrNoCopy    = errors.New("there is no copy of it yet") // of a feed, or a list in Redis

	errNotRegular = errors.New("not a regular file")
)

// manyEntries makes a list so large that what its reading left behind, the old
// set above all, is given back before the next one is read.
const manyEntries = 500_000

// Load reads every list whose set is not of the version that is there now. A
// list that cannot be read keeps its old set, or stays empty, and is told in
// the joined error with file, cause and remedy.
func (b *Book) Load(ctx context.Context) error { return b.load(ctx, true) }

// load reads what has changed; again, where retry, what was refused before.
// Lists are read one at a time, so that only one is in memory twice.
func (b *Book) load(ctx context.Context, retry bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, l := range b.lists {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if err := b.current(ctx, l, retry); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// current brings one list up to date. Those in Redis are small, and their edits are
// not to wait until a large file has been read: they have a lock of their own.
func (b *Book) current(ctx context.Context, l *list, retry bool) error {
	if l.shared != nil {
		b.edits.Lock()
		defer b.edits.Unlock()
	}
	return b.refresh(ctx, l, retry)
}

// refresh brings one list up to date.
func (b *Book) refresh(ctx context.Context, l *list, retry bool) error {
	v, err := l.src.version()
	if err != nil {
		return b.failed(l, "", err)
	}
	old := l.live.Load()
	if old != nil && old.version == v {
		if l.err.Swap(nil) != nil {
			b.loaded(l, old) // it was away, and is back as it was
		}
		return nil
	}
	if f := l.err.Load(); f != nil && l.tried == v && !retry {
		return f.err
	}
	next, err := l.read(ctx, b.o.MaxBytes, old)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			v = "" // of permissions, say, no version tells that they have changed
		}
		return b.failed(l, v, err)
	}
	next.loaded = b.o.Now()
	l.live.Store(next)
	l.err.Store(nil)
	b.loaded(l, next)
	if next.entries >= manyEntries {
		old = nil
		debug.FreeOSMemory()
	}
	return nil
}

// read reads the present version and judges it.
func (l *list) read(ctx context.Context, limit int64, old *content) (*content, error) {
	in, err := l.src.open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	before, err := in.version()
	if err != nil {
		return nil, err
	}
	expect := 0
	if old != nil {
		expect = old.names.Len()
	}
	r := newReader(l.Kind, expect)
	if err := r.read(ctx, in, limit); err != nil {
		return nil, err
	}
	after, err := in.version()
	if err != nil {
		return nil, err
	}
	if before != after {
		return nil, ErrChanging
	}
	next := r.content()
	next.version = before
	return next, judge(next, old)
}

// judge tells whether a list that was read is to be believed.
func judge(next, old *content) error {
	if err := next.Fault(); err != nil {
		return err
	}
	if !next.Filled && old != nil && old.entries > 0 {
		return ErrEmptied
	}
	return nil
}

// failed notes and tells why a list could not be brought up to date.
func (b *Book) failed(l *list, tried version, cause error) error {
	err := fmt.Errorf("list %q: %s: %w: %s; %s", l.Name, l.src.name(), bare(cause), remedy(cause, l.Kind), l.remains())
	l.tried = tried
	if f := l.err.Swap(&failure{err}); f != nil && f.err.Error() == err.Error() {
		return err
	}
	level := slog.LevelError
	if errors.Is(err, ErrNoCopy) {
		level = slog.LevelWarn // as it must be at the first start
	}
	b.o.Log.Log(context.Background(), level, "list not loaded", slog.String("list", l.Name), slog.String("err", err.Error()))
	if b.o.Observer.Failed != nil {
		b.o.Observer.Failed(l.Name, err)
	}
	return err
}

// remains tells what is in force while something is wrong.
func (l *list) remains() string {
	if c := l.live.Load(); c != nil {
		return fmt.Sprintf("its %d entries of %s stay in force", c.entries, c.loaded.Format("2006-01-02 15:04"))
	}
	return "it is empty until then"
}

// bare takes the file's name off, which is told already.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// remedy tells the administrator what to do.
func remedy(err error, k Kind) string {
	switch {
	case errors.Is(err, ErrNoCopy):
		return "it is fetched in the background"
	case errors.Is(err, fs.ErrNotExist):
		return "create the file or correct its path in the configuration"
	case errors.Is(err, fs.ErrPermission):
		return "let the filter's user read the file and search its directories"
	case errors.Is(err, errNotRegular):
		return "name a file, not a directory, pipe or device"
	case errors.Is(err, ErrMostlyBad):
		return fmt.Sprintf("see whether the file is meant for a list of type %q", k)
	case errors.Is(err, ErrEmptied):
		return "fill it, or leave a comment line in it if it is meant to be empty"
	case errors.Is(err, ErrChanging):
		return "write a new file and rename it over the old one; it is tried again"
	case errors.Is(err, ErrTooLarge):
		return "split it into several lists"
	}
	return "see whether the file is whole"
}

func (b *Book) loaded(l *list, c *content) {
	attrs := []any{slog.String("list", l.Name), slog.String("source", l.src.name()),
		slog.Int("entries", c.entries), slog.Int("bad", c.Bad)}
	if c.Bad == 0 {
		b.o.Log.Info("list loaded", attrs...)
	} else {
		first := c.BadLines[0]
		b.o.Log.Warn("list loaded", append(attrs, slog.Int("bad_line", first.Number),
			slog.String("text", first.Text), slog.String("why", first.Why))...)
	}
	if b.o.Observer.Loaded != nil {
		b.o.Observer.Loaded(l.Name, c.entries, c.Bad, c.loaded)
	}
}
