// Package stream shares decisions among the filters of one Redis, so that each
// can explain what another decided: the client's second attempt, or the
// postmaster's question, may come to any of them. The latest decisions are kept,
// bounded by number, as a Redis stream; the journals on disk stay the record of
// each filter. What cannot be shared is dropped and counted: mail never waits.
package stream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/observe/journal"
)

// Key is the stream's name in Redis.
const Key = "mw:decisions"

// Config is all that a Stream needs.
type Config struct {
	Client redis.UniversalClient
	Max    int64                               // decisions kept, about
	Queue  int                                 // records waiting for Redis; more are dropped and counted
	Redact func(*filter.Record) *filter.Record // nil keeps records as they are
	Log    *slog.Logger
	Shared func(result string) // "shared", "dropped" or "failed"; may be nil
	Failed func(error)         // told when sharing begins to fail, and with nil when it works again; may be nil
}

// Stream takes records without ever blocking, and sends them in Run. It is safe
// for concurrent use.
type Stream struct {
	c       Config
	queue   chan *filter.Record
	dropped atomic.Int64
	zip     *gzip.Writer // of Run
}

// New makes a stream. It does not touch the network.
func New(c Config) *Stream {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // a known level is no error
	return &Stream{c: c, queue: make(chan *filter.Record, c.Queue), zip: z}
}

// Message takes a record (filter.Observer). The record must not change later.
func (s *Stream) Message(r *filter.Record) {
	select {
	case s.queue <- r:
	default:
		s.dropped.Add(1)
		s.count("dropped", 1)
	}
}

// Check is not shared: the record holds the findings.
func (s *Stream) Check(string, fact.State, string, time.Duration) {}

func (s *Stream) count(result string, n int) {
	for range n {
		if s.c.Shared != nil {
			s.c.Shared(result)
		}
	}
}

const (
	maxBatch  = 64
	sendLimit = 2 * time.Second // of one batch
	drain     = 2 * time.Second // for what is queued at the end
)

// Run sends until ctx ends, then what is still queued. It is called once.
func (s *Stream) Run(ctx context.Context) {
	failed := false
	for {
		select {
		case r := <-s.queue:
			failed = s.send(ctx, s.batch(r), failed)
		case <-ctx.Done():
			for end := time.Now().Add(drain); time.Now().Before(end); {
				select {
				case r := <-s.queue:
					failed = s.send(ctx, s.batch(r), failed)
				default:
					return
				}
			}
			return
		}
	}
}

// batch takes what is there without waiting for more.
func (s *Stream) batch(first *filter.Record) []*filter.Record {
	all := []*filter.Record{first}
	for len(all) < maxBatch {
		select {
		case r := <-s.queue:
			all = append(all, r)
		default:
			return all
		}
	}
	return all
}

// send puts a batch into the stream in one round trip. A failure is told when it
// begins and when it is over, not for each record.
func (s *Stream) send(ctx context.Context, batch []*filter.Record, before bool) (failed bool) {
	// The end of the server is no reason to break off in the middle.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendLimit)
	defer cancel()
	n := 0
	_, err := s.c.Client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, r := range batch {
			data, err := s.pack(r)
			if err != nil {
				s.count("failed", 1)
				s.c.Log.Error("decision not shared", slog.String("ref", r.Ref), slog.String("error", err.Error()))
				continue
			}
			n++
			p.XAdd(ctx, &redis.XAddArgs{Stream: Key, MaxLen: s.c.Max, Approx: true, Values: []any{"r", data}})
		}
		return nil
	})
	switch {
	case err != nil:
		s.count("failed", n)
		if !before {
			s.tell(err)
		}
		return true
	case before:
		s.tell(nil)
	}
	s.count("shared", n)
	return false
}

func (s *Stream) tell(err error) {
	if s.c.Failed != nil {
		s.c.Failed(err)
	}
}

// pack gives the record's journal line, compressed: a third of its size.
func (s *Stream) pack(r *filter.Record) ([]byte, error) {
	line, err := journal.Encode(s.c.Redact, r)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	s.zip.Reset(&b)
	if _, err := s.zip.Write(line); err != nil {
		return nil, err
	}
	if err := s.zip.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// maxRecord bounds what one entry may grow to: Redis is shared, and may hold
// what others wrote.
const maxRecord = 16 << 20

func unpack(data string) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader([]byte(data)))
	if err != nil {
		return nil, err
	}
	line, err := io.ReadAll(io.LimitReader(z, maxRecord+1))
	if err == nil && len(line) > maxRecord {
		err = errors.New("too long")
	}
	return line, err
}

// page is how many entries are read at once.
const page = 200

// Find gives the latest record with that reference, queue id, Message-ID or
// session; nil when there is none. It reads the stream from its end. Entries that
// are not ours, or of a later format, are passed over.
func (s *Stream) Find(ctx context.Context, ref string) (*filter.Record, error) {
	for end := "+"; ; {
		entries, err := s.c.Client.XRevRangeN(ctx, Key, end, "-", page).Result()
		if err != nil {
			return nil, fmt.Errorf("decisions in Redis: %w", err)
		}
		for _, e := range entries {
			data, _ := e.Values["r"].(string)
			line, err := unpack(data)
			if err != nil {
				continue
			}
			if r, err := journal.Decode(line); err == nil && journal.Matches(r, ref) {
				return r, nil
			}
		}
		if len(entries) < page {
			return nil, nil
		}
		end = "(" + entries[len(entries)-1].ID
	}
}
