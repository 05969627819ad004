package cli

import (
	"regexp"
	"slices"
	"testing"
)

var problemAt = regexp.MustCompile(`(?m)m\.yaml:(\d+:\d+): `)

// TestAllProblemsAtOnce: a mistake in one place does not hide those in another,
// and a file that is named and not there is one.
func TestAllProblemsAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		conf string
		want []string
	}{
		"keys and rules": {"profil: strict\nrules:\n- {name: a, when: {spf.reslt: pass}, do: reject}\n- {name: b, when: {client.ip: 10.0.0.999}, do: reject}\n" +
			"- {name: c, when: {spf.result: pass}, do: rejct}\n- {name: b, when: {spf.result: pass}, do: reject}\n",
			[]string{"1:1", "3:20", "4:20", "5:43", "6:3"}},
		"secrets": {"admin: {token_file: none}\nredis: {url: \"rediss://127.0.0.1:1\", password_file: none, ca_file: none}\n" +
			"dnsbl:\n- {zone: a.example, type: ip, codes: {127.0.0.2: x}, key_file: none}\n- {zone: b.example, type: ip, codes: {127.0.0.2: x}, key_file: none, mode: \"off\"}\n",
			[]string{"1:9", "2:38", "2:59", "4:54"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "m.yaml", c.conf)
			for _, command := range [][]string{{"config", "check", file}, {"serve", "--config", file, "--data-dir", t.TempDir()}} {
				status, _, errs := run(command...)
				var got []string
				for _, m := range problemAt.FindAllStringSubmatch(errs, -1) {
					if !slices.Contains(got, m[1]) {
						got = append(got, m[1])
					}
				}
				if status != 2 || !slices.Equal(got, c.want) {
					t.Errorf("%v: status %d, problems at %v, want %v\n%s", command, status, got, c.want, errs)
				}
			}
		})
	}
}
