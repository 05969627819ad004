// Package scan reads the lines of a list, plain or compressed by gzip, in
// constant memory.
package scan

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"mailwicket/filter/list/entry"
)

// MaxLine is the length from which on a line is bad.
const MaxLine = 64 << 10

// Kinds of errors.
var (
	ErrTooLarge  = errors.New("the list is too large")
	ErrMostlyBad = errors.New("more bad lines than good ones")
)

// Plain gives the bytes of in, decompressed where they are gzip. More than limit
// bytes end in ErrTooLarge.
func Plain(in io.Reader, limit int64) (io.Reader, error) {
	br := bufio.NewReaderSize(in, MaxLine)
	plain := io.Reader(br)
	if magic, _ := br.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) { // RFC 1952, 2.3.1
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, err
		}
		plain = z
	}
	return Capped(plain, limit), nil
}

// Capped gives the bytes of in. More than limit of them end in ErrTooLarge.
func Capped(in io.Reader, limit int64) io.Reader {
	return &capped{in: io.LimitedReader{R: in, N: limit + 1}, limit: limit}
}

type capped struct {
	in    io.LimitedReader
	limit int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if c.in.N <= 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, c.limit)
	}
	return n, err
}

// Lines calls each for every line of in. Number counts from one; raw is the line
// without its end, or the beginning of one that is too long, and is valid, as
// the items are, until each returns. It ends with the context, or where in cannot
// be read.
func Lines(ctx context.Context, in io.Reader, k entry.Kind, each func(number int, raw []byte, l entry.Line)) error {
	br := bufio.NewReaderSize(in, MaxLine)
	p := entry.NewParser(k)
	var line []byte // the parser writes to what it reads
	for number := 1; ; number++ {
		b, err := br.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !long && !errors.Is(err, io.EOF) {
			return err
		}
		if len(b) == 0 {
			return nil
		}
		if number%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if long {
			each(number, b, entry.Line{Why: "a line that is too long"})
			if err := skip(br); err != nil {
				return err
			}
			continue
		}
		b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
		line = append(line[:0], b...)
		each(number, b, p.Parse(line))
	}
}

// skip reads to the end of a line.
func skip(br *bufio.Reader) error {
	for {
		switch _, err := br.ReadSlice('\n'); {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}
