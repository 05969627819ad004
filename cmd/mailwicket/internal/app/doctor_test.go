package app

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/policy"
)

// What the server remembers and has open comes into the evidence.
func TestRunning(t *testing.T) {
	dir := t.TempDir()
	load := parse(t, dir, "")
	a := start(t, func() (*config.Config, []policy.Problem) {
		c, problems := load()
		c.Admin.Listen = "0.0.0.0:0" // as a socket unit may open it: Validate refuses it without a token
		return c, problems
	})
	for range 3 {
		a.observed.journalled("written")
	}
	a.observed.journalled("dropped")
	a.board.set("redis (rates)", false, "timeout")
	rec := httptest.NewRecorder()
	a.adminHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/doctor", nil))
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"admin_open": "`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	r := a.running()
	if j := r.Server.Journal; j.Written != 3 || j.Lost != 1 || j.LastAt.IsZero() {
		t.Errorf("journal %+v", j)
	}
	if milters, _ := a.Addresses(); !slices.Equal(r.Listen, []string{"inet:" + milters[0].String()}) {
		t.Errorf("listens on %v", r.Listen)
	}
	var got []string
	for _, f := range doctor.Examine(r.Cheap(t.Context(), time.Now)) {
		got = append(got, f.ID)
	}
	for _, id := range []string{"admin-open", "journal-lost", "degraded"} {
		if !slices.Contains(got, id) {
			t.Errorf("%s is not among %v", id, got)
		}
	}
}
