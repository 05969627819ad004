package harness

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Filter is a running mailwicket.
type Filter struct {
	*Process
	Admin string // host:port
}

// startFilter runs the program with a configuration written to dir.
func startFilter(bin, dir string, milter int, config map[string]any) (*Filter, error) {
	admin, err := freePort()
	if err != nil {
		return nil, err
	}
	f := &Filter{Admin: fmt.Sprintf("127.0.0.1:%d", admin)}
	addr := fmt.Sprintf("127.0.0.1:%d", milter)
	base := map[string]any{
		"milter": map[string]any{"listen": []any{"inet:" + addr}},
		"admin":  map[string]any{"listen": f.Admin},
	}
	text, err := yaml.Marshal(merge(base, config))
	if err != nil {
		return nil, err
	}
	file, data := filepath.Join(dir, "mailwicket.yaml"), filepath.Join(dir, "data")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	if f.Process, err = start([]string{"GORACE=halt_on_error=0"}, bin, "serve", "--config", file, "--data-dir", data); err != nil {
		return nil, err
	}
	if err := f.answers(addr, 20*time.Second); err != nil {
		f.Stop(time.Second)
		return nil, fmt.Errorf("filter: %w\n%s", err, text)
	}
	return f, nil
}

// merge lays one configuration over another: maps key by key, all else whole.
func merge(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	for k, v := range over {
		a, isMap := out[k].(map[string]any)
		b, alsoMap := v.(map[string]any)
		if isMap && alsoMap {
			v = merge(a, b)
		}
		out[k] = v
	}
	return out
}

// Metrics reads the metrics page.
func (f *Filter) Metrics() (string, error) {
	c := http.Client{Timeout: 5 * time.Second}
	r, err := c.Get("http://" + f.Admin + "/metrics")
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	return string(b), err
}

var metricWant = regexp.MustCompile(`^(\w+)(?:\{(.*)\})?\s*(>=|==)\s*([0-9.]+)$`)

// checkMetric tries `name{label="value"} >= n` on a metrics page: the sum over
// all series of that name that have the labels named.
func checkMetric(page, want string) error {
	m := metricWant.FindStringSubmatch(want)
	if m == nil {
		return fmt.Errorf("metrics: cannot read %q", want)
	}
	limit, err := strconv.ParseFloat(m[4], 64)
	if err != nil {
		return err
	}
	sum, seen := 0.0, 0
	for line := range strings.Lines(page) {
		name, labels, value := series(strings.TrimSpace(line))
		if name != m[1] || !hasLabels(labels, m[2]) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return err
		}
		sum, seen = sum+v, seen+1
	}
	if seen == 0 && limit > 0 {
		return fmt.Errorf("metrics: no series %s", want)
	}
	if sum < limit || m[3] == "==" && sum != limit {
		return fmt.Errorf("metrics: want %s, got %g", want, sum)
	}
	return nil
}

func series(line string) (name, labels, value string) {
	head, value, ok := cutLast(line, " ")
	if !ok || strings.HasPrefix(line, "#") {
		return "", "", ""
	}
	name, labels, _ = strings.Cut(strings.TrimSuffix(head, "}"), "{")
	return name, labels, value
}

func cutLast(s, sep string) (string, string, bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func hasLabels(have, want string) bool {
	if want == "" {
		return true
	}
	for _, w := range strings.Split(want, ",") {
		if !strings.Contains(","+have+",", ","+strings.TrimSpace(w)+",") {
			return false
		}
	}
	return true
}
