package cli

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var problemAt = regexp.MustCompile(`(?m)^(?:/\S+/m\.yaml:)?((?:profile \S+:)?\d+:\d+): `)

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
		"rules and tags": {"rules:\n- {name: a, when: {spf.reslt: pass}, do: reject}\n- {name: b, when: {spf.result: fial}, do: {tag: strict}}\n" +
			"- {name: c, when: {helo.name: {regex: \"([\"}}, do: reject}\n- {name: a, when: {tags: stritc}, do: reject}\n",
			[]string{"2:20", "3:20", "4:20", "5:3", "5:20"}},
		"rules and those of settings": {"rules:\n- {name: spf-fail, when: {spf.result: fail}, do: rejct}\n- {name: spf-fail, when: {spf.result: fail}, do: reject}\n",
			[]string{"2:50", "profile standard:58:5"}},
		"a tag of a rule that cannot be read": {"rules:\n- {name: a, when: {spf.result: pass}, do: {tag: strict, stag: x}}\n- {name: b, when: {tags: strict}, do: reject}\n",
			[]string{"2:57"}},
		"secrets and the rest": {"admin: {token_file: none, listn: x}\nredis: {url: \"rediss://127.0.0.1:1\", ca_file: none}\nrules:\n- {name: a, when: {spf.reslt: pass}, do: reject}\n",
			[]string{"1:9", "1:27", "2:38", "4:20"}},
		"secrets that are none": {"admin: {token_file: EMPTY}\nredis:\n  url: rediss://127.0.0.1:1\n  password_file: TWO\n  ca_file: TWO\n", []string{"1:9", "4:3", "5:3"}},
		"secrets": {"admin: {token_file: none}\nredis: {url: \"rediss://127.0.0.1:1\", password_file: none, ca_file: none}\n" +
			"dnsbl:\n- {zone: a.example, type: ip, codes: {127.0.0.2: x}, key_file: none}\n- {zone: b.example, type: ip, codes: {127.0.0.2: x}, key_file: none, mode: \"off\"}\n",
			[]string{"1:9", "2:38", "2:59", "4:54"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "m.yaml", strings.NewReplacer("EMPTY", write(t, "empty", "\n"), "TWO", write(t, "two", "a\nb\n")).Replace(c.conf))
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

// TestSecretsOfOthers: who only looks at messages or keys does without the files
// with secrets, which may be the server's alone.
func TestSecretsOfOthers(t *testing.T) {
	file := write(t, "m.yaml", "admin: {token_file: none}\nredis: {url: \"redis://127.0.0.1:1\", password_file: none}\n")
	for _, command := range [][]string{
		{"config", "show", file}, {"config", "rules", file}, {"replay", "--config", file, "--journal", t.TempDir()},
		{"check", write(t, "m.eml", good), "--ip", "192.0.2.10", "--helo", "mail.shop.example", "--from", "a@shop.example", "--rcpt", "b@home.example", "--zone", write(t, "zone", zone), "--config", file},
	} {
		if status, _, errs := run(command...); status == exitUsage || strings.Contains(errs, "token_file") || strings.Contains(errs, "password_file") {
			t.Errorf("%s: status %d\n%s", command[:2], status, errs)
		}
	}
	status, _, errs := run("config", "check", file)
	if want := "none cannot be read: no such file or directory (write it, or take the key out)\n"; status != exitUsage || strings.Count(errs, want) != 2 {
		t.Errorf("check: status %d\n%s", status, errs)
	}
}

// TestTagsOfSettings: lists, rates, DNS lists and profiles leave tags as well, so
// that rules may ask for them; but only what is there.
func TestTagsOfSettings(t *testing.T) {
	conf := "lists: [{name: partners, type: domain, file: " + write(t, "list", "a.example\n") + ", do: tag, apply: [mail_from]}]\n" +
		"rates: [{name: burst, key: [client], limit: 10/1h, do: tag}]\n" +
		"dnsbl: [{zone: bl.example, type: ip, codes: {127.0.0.2: listed}, do: tag}]\n" +
		"rules: [{name: one, stage: message, when: {tags: [partners, burst, bl.example, dmarc-override]}, do: {points: 1}}]\n"
	if status, _, errs := run("config", "check", write(t, "m.yaml", conf)); status != 0 {
		t.Errorf("status %d\n%s", status, errs)
	}
	status, _, errs := run("config", "check", write(t, "m.yaml", strings.Replace(conf, "limit: 10/1h, do: tag", "limit: 10/1h", 1)))
	if status != exitUsage || strings.Count(errs, "no rule leaves the tag") != 1 || !strings.Contains(errs, `the tag "burst"`) {
		t.Errorf("status %d\n%s", status, errs)
	}
}
