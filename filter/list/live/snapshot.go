package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// Snapshot is one state of a list. It is immutable.
type Snapshot struct {
	State   string  `json:"state"`
	Entries []Entry `json:"entries"` // in order
}

// Text is the snapshot as the text of a list with a comment above it, so that an
// empty list is not an empty text. The n-th entry is on line n+1.
func (s *Snapshot) Text() []byte {
	var b bytes.Buffer
	b.WriteString("# edited live\n")
	for _, e := range s.Entries {
		b.WriteString(clean(e.Entry))
		if e.Comment != "" {
			b.WriteString(" # " + clean(e.Comment))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// clean keeps a text on one line, whoever wrote it.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}

// saved is a snapshot in its file.
type saved struct {
	Format int `json:"format"`
	Snapshot
}

const savedFormat = 1

// keep saves the copy.
func (l *List) keep() {
	if l.c.File == "" {
		return
	}
	if err := l.save(); err != nil {
		l.log.Warn("copy of list not saved", slog.String("list", l.c.Name), slog.String("err", err.Error()))
	}
}

func (l *List) save() error {
	b, err := json.Marshal(saved{savedFormat, *l.Snapshot()})
	if err != nil {
		return err
	}
	dir := filepath.Dir(l.c.File)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return renameio.WriteFile(l.c.File, b, 0o640, renameio.WithTempDir(dir))
}

// load takes the copy that the last run of the program saved.
func (l *List) load() {
	if l.c.File == "" {
		return
	}
	b, err := os.ReadFile(l.c.File)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var s saved
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && s.Format != savedFormat {
		err = fmt.Errorf("unknown format %d", s.Format)
	}
	if err != nil {
		l.log.Warn("saved copy of list not read", slog.String("list", l.c.Name), slog.String("err", err.Error()))
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.snap = &s.Snapshot
}
