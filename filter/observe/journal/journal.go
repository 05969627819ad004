// Package journal keeps decisions with all their facts as JSON lines, so that
// they can be explained and judged again. Files rotate by size and day; a record
// is written with one call, so that a killed process leaves at most one torn
// line at the end, which readers skip. deploy/docs/journal.md tells the fields.
package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/fact"
)

// Version of the line format. Readers pass over lines of a higher one, and say so.
const Version = 1

// Line is one journalled decision.
type Line struct {
	V int `json:"v"`
	*filter.Record
}

// ErrVersion is a line written by a later release.
var ErrVersion = errors.New("journal line is of a later format")

// LaterError tells how many lines were passed over since a later release wrote
// them. It is an ErrVersion.
type LaterError struct{ Lines int }

func (e *LaterError) Error() string {
	return fmt.Sprintf("%d lines are of a later format: ask the release that wrote them", e.Lines)
}

// Is implements errors.Is.
func (e *LaterError) Is(target error) bool { return target == ErrVersion }

// ErrTooLong is a record whose line would be longer than readers take.
var ErrTooLong = errors.New("journal line is too long")

// Config says where and how long decisions are kept.
type Config struct {
	Dir     string                              // made when missing
	Keep    time.Duration                       // after a file's day, in UTC, it is kept so long
	MaxFile int64                               // bytes at which a new file is begun; at most an eighth of MaxAll
	MaxAll  int64                               // bytes of all files; the oldest go first
	Redact  func(*filter.Record) *filter.Record // nil keeps records as they are
	Queue   int                                 // records waiting for the disk; more are dropped and counted
	Now     func() time.Time
	Log     *slog.Logger
	Written func(result string) // "written", "dropped" or "failed"; may be nil
}

// Journal takes records without ever blocking, and writes them in Run.
type Journal struct {
	c       Config
	queue   chan *filter.Record
	dropped atomic.Int64
}

const dirMode = 0o750

// New makes the directory, so that a wrong one is found at start.
func New(c Config) (*Journal, error) {
	if err := os.MkdirAll(c.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("journal directory: %w", err)
	}
	probe, err := os.CreateTemp(c.Dir, ".probe")
	if err != nil {
		return nil, fmt.Errorf("journal directory is not writable: %w", err)
	}
	probe.Close()
	os.Remove(probe.Name())
	// The oldest file goes as a whole: small ones keep most of the history.
	c.MaxFile = min(c.MaxFile, c.MaxAll/8)
	return &Journal{c: c, queue: make(chan *filter.Record, c.Queue)}, nil
}

// Message takes a record (filter.Observer). The record must not change later.
func (j *Journal) Message(r *filter.Record) {
	select {
	case j.queue <- r:
	default:
		j.dropped.Add(1)
		j.count("dropped")
	}
}

// Check is not journalled: the record holds the findings.
func (j *Journal) Check(string, fact.State, string, time.Duration) {}

// Dropped tells how many records found the queue full.
func (j *Journal) Dropped() int64 { return j.dropped.Load() }

func (j *Journal) count(result string) {
	if j.c.Written != nil {
		j.c.Written(result)
	}
}

// sweepEvery is how often old files are looked for while no mail comes.
const sweepEvery = time.Hour

// Run writes until ctx ends, then what is still queued. It is called once.
func (j *Journal) Run(ctx context.Context) {
	w := &writer{c: j.c}
	defer w.close()
	w.tidy()
	pace := time.NewTicker(sweepEvery)
	defer pace.Stop()
	failed := false
	for {
		select {
		case r := <-j.queue:
			failed = j.write(w, r, failed)
		case <-pace.C:
			w.tidy()
		case <-ctx.Done():
			for {
				select {
				case r := <-j.queue:
					failed = j.write(w, r, failed)
				default:
					return
				}
			}
		}
	}
}

// write puts a record on disk. A failure is logged when it begins and when it is
// over, not for each record.
func (j *Journal) write(w *writer, r *filter.Record, before bool) (failed bool) {
	b, err := Encode(j.c.Redact, r)
	if err == nil {
		err = w.append(b)
	}
	if err != nil {
		j.count("failed")
		if !before {
			j.c.Log.Error("journal not written", slog.String("ref", r.Ref), slog.String("error", err.Error()))
		}
		return true
	}
	if before {
		j.c.Log.Info("journal written again")
	}
	j.count("written")
	return false
}

// Encode gives the record's line, redacted where redact is not nil. "<" and ">" stay as they are, so that a
// Message-ID can be searched for with grep. A panic is an error: nobody else would
// catch it here, and mail must not stop for the journal.
func Encode(redact func(*filter.Record) *filter.Record, r *filter.Record) (_ []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("journal line: panic: %v", v)
		}
	}()
	if redact != nil {
		r = redact(r)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(Line{Version, r}); err != nil {
		return nil, err
	}
	if b.Len() > maxLine {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLong, b.Len())
	}
	return b.Bytes(), nil
}
