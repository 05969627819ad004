package feed

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mailwicket/filter/list/scan"
)

// Contact is what a feed's server said of itself.
type Contact struct {
	Date time.Time     // its clock when it answered; zero where it does not tell
	Took time.Duration // until it answered
}

// Probe asks for the feed under the rules of Fetch, and looks at the first bytes
// alone: nothing is kept, and nothing of the state changes. The error is of the
// kinds of Fetch.
func (f *Feed) Probe(ctx context.Context) (Contact, error) {
	var c Contact
	if err := CheckURL(f.c.URL); err != nil {
		return c, err
	}
	r, err := f.request(ctx, &state{})
	if err != nil {
		return c, err
	}
	defer f.transport.CloseIdleConnections()
	start := f.o.Now()
	resp, err := f.client.Do(r)
	if err != nil {
		return c, bare(ctx, err)
	}
	defer resp.Body.Close()
	c.Took, c.Date = f.o.Now().Sub(start), clockOf(resp.Header)
	switch {
	case resp.StatusCode != http.StatusOK:
		return c, fmt.Errorf("%w %d %s", ErrStatus, resp.StatusCode, http.StatusText(resp.StatusCode))
	case resp.ContentLength > f.c.MaxBytes:
		return c, fmt.Errorf("%w: %d bytes", scan.ErrTooLarge, resp.ContentLength)
	}
	return c, bare(ctx, f.glance(resp))
}

// glance reads the first bytes of a body.
func (f *Feed) glance(resp *http.Response) error {
	plain, err := decoded(resp.Body, resp.Header.Get("Content-Encoding"), f.c.MaxBytes)
	if err != nil {
		return err
	}
	head := make([]byte, 512)
	n, err := io.ReadFull(plain, head)
	switch {
	case n == 0 && err == io.EOF:
		return ErrEmpty
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		return err
	case strings.HasPrefix(http.DetectContentType(head[:n]), "text/html"):
		return ErrHTML
	}
	return nil
}

// clockOf gives the time at which an answer was sent. Caches keep the origin's
// date and tell the age (RFC 9110, 6.6.1; RFC 9111, 5.1).
func clockOf(h http.Header) time.Time {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	age, err := strconv.ParseUint(h.Get("Age"), 10, 31)
	if err != nil {
		return at
	}
	return at.Add(time.Duration(age) * time.Second)
}
