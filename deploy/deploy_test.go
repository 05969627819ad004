// Package deploy holds no code: its tests try the files that are deployed.
package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"mailwicket/filter/observe"
)

// names collects the metric names that are registered with it.
type names map[string]bool

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (n names) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc, 16)
	go func() {
		c.Describe(ch)
		close(ch)
	}()
	for d := range ch {
		n[fqName.FindStringSubmatch(d.String())[1]] = true
	}
	return nil
}

func (n names) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = n.Register(c) // never fails
	}
}

func (n names) Unregister(prometheus.Collector) bool { return false }

var metricName = regexp.MustCompile(`\bmailwicket_[a-z_]+`)

// TestDeployMetrics holds the dashboard and the alerts to the metrics that the
// program has: a name that is misspelt there shows nothing and alerts nobody.
func TestDeployMetrics(t *testing.T) {
	have := names{}
	observe.New(have)
	for _, file := range []string{"grafana/mailwicket.json", "prometheus/alerts.yml"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(b) {
			t.Errorf("%s is not JSON", file)
		}
		found := metricName.FindAllString(string(b), -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, name := range found {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
			if !have[name] && !have[base] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

// TestAlerts tries the alert rules on made-up series with Prometheus's own tool.
func TestAlerts(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("MAILWICKET_REQUIRE_ALL") == "1" {
			t.Fatal("promtool is not installed")
		}
		t.Skip("promtool is not installed")
	}
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"},
		{"test", "rules", "alerts_test.yml"},
	} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = "prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestSystemdUnit lets systemd read the units, where it is.
func TestSystemdUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("systemd-analyze is not here: the units were not read by systemd")
		return
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no",
		"systemd/mailwicket.service", "systemd/mailwicket.socket").CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "mailwicket") && !strings.Contains(line, "is not executable") {
			t.Errorf("systemd-analyze: %s (%v)", line, err)
		}
	}
}
