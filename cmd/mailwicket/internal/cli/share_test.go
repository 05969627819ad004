package cli

import (
	"strings"
	"testing"
	"time"

	"mailwicket/greylist/redisstore/redistest"
)

// TestExplainOfAnother: two filters share a Redis; either explains what the other
// decided, also when its journal is gone, and says so when Redis does not answer.
func TestExplainOfAnother(t *testing.T) {
	r := redistest.Start(t)
	conf := withZone(t, serveConf) + "redis: {url: \"redis://" + r.Addr + "\"}\njournal: {share: true, share_max: 100}\n"
	one, other := serve(t, conf), serve(t, conf)
	ref := reference.FindString(one.message("x@refused.example").Text)
	if ref == "" {
		t.Fatal("no reference in the reply")
	}
	var out string
	redistest.Await(t, "the other filter's story", func() bool {
		var status int
		status, out, _ = run("explain", ref, "--admin", other.admin)
		return status == 0
	})
	for _, want := range []string{ref + "  refused by rule no-shop", "by the filter on ", "We do not take mail of refused.example"} {
		if !strings.Contains(out, want) {
			t.Errorf("explain lacks %q:\n%s", want, out)
		}
	}
	if status, _, errs := run("explain", "AAAAA-AAAAA", "--admin", other.admin); status != 1 ||
		!strings.Contains(errs, "the journal, which holds none yet") || !strings.Contains(errs, "nor in the latest 100 of all filters in Redis") {
		t.Errorf("explain of nothing: %d %s", status, errs)
	}
	_, page := one.get("/metrics")
	if !strings.Contains(page, `mailwicket_decisions_shared_total{result="shared"} 1`) {
		t.Error("what was shared is not counted")
	}
	r.Kill()
	began := time.Now()
	if status, _, errs := run("explain", ref, "--admin", other.admin); status != 1 || !strings.Contains(errs, "decisions in Redis") {
		t.Errorf("without Redis: %d %s", status, errs)
	}
	if took := time.Since(began); took > 2*findLimit {
		t.Errorf("without Redis explain takes %s", took)
	}
	if status, _, errs := run("explain", ref, "--admin", one.admin); status != 0 {
		t.Errorf("the filter's own journal is not read: %s", errs)
	}
}

// findLimit is how long a server searches Redis.
const findLimit = 10 * time.Second
