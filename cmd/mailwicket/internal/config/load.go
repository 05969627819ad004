package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mailwicket/cmd/mailwicket/internal/config/keys"
	"mailwicket/greylist/redisstore/redisurl"
	"mailwicket/policy"
)

// PasswordVariable is the environment's name for the password of Redis.
const PasswordVariable = "MAILWICKET_REDIS_PASSWORD"

// maxFile is far above any configuration, and far below the memory.
const maxFile = 4 << 20

// Load reads the configuration file, "" for the defaults, and gives every
// problem in the order of the file. With problems the configuration holds
// defaults in their places, and must not be run.
func Load(file string, env func(string) string) (*Config, []policy.Problem) {
	var text []byte
	var origin Origin
	if file != "" {
		var err error
		if text, origin, err = readFile(file, maxFile); err != nil {
			return Default(), []policy.Problem{{At: policy.Position{File: file}, Message: err.Error()}}
		}
	}
	c, problems := Parse(file, text)
	c.origin = origin
	problems = append(problems, c.Validate()...)
	problems = append(problems, c.environment(env)...)
	slices.SortStableFunc(problems, func(a, b policy.Problem) int {
		if a.At.Line != b.At.Line {
			return a.At.Line - b.At.Line
		}
		return a.At.Col - b.At.Col
	})
	return c, problems
}

// environment finds what is told both there and in the file: which of the two
// is meant, nobody can know.
func (c *Config) environment(env func(string) string) []policy.Problem {
	v := validator{c: c}
	const hint = "keep one of the two"
	for i, z := range c.DNSBL {
		if z.KeyFile != "" && lookup(env, z.keyVariable()) != "" {
			v.problem(index("dnsbl", i)+".key_file", "the key is also given by "+z.keyVariable(), hint)
		}
	}
	if lookup(env, PasswordVariable) == "" {
		return v.problems
	}
	if c.Redis.PasswordFile != "" {
		v.problem("redis.password_file", "the password is also given by "+PasswordVariable, hint)
	}
	if o, err := redisurl.Parse(c.Redis.URL); err == nil && o.Password != "" {
		v.problem("redis.url", "the password is also given by "+PasswordVariable, hint)
	}
	return v.problems
}

func lookup(env func(string) string, name string) string {
	if env == nil {
		return ""
	}
	return env(name)
}

// readFile reads a file of bounded size, and tells what it was before that: a
// change while it is read shows later. Its errors do not name the file.
func readFile(file string, limit int64) ([]byte, Origin, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, Origin{}, reason(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, Origin{}, reason(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, Origin{}, reason(err)
	case int64(len(text)) > limit:
		return nil, Origin{}, fmt.Errorf("the file is larger than %s", Size(limit))
	}
	return text, Origin{info}, nil
}

// reason takes the file's name off an error: it stands before it anyway.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("cannot be read: %w", pe.Err)
	}
	return fmt.Errorf("cannot be read: %w", err)
}

// Resolve gives the path of a file that a key names: relative ones begin at the
// configuration file's directory.
func (c *Config) Resolve(path string) string {
	if path == "" || filepath.IsAbs(path) || c.File == "" {
		return path
	}
	return filepath.Join(filepath.Dir(c.File), path)
}

// Position tells where a key stands, such as "lists[1].file". For one that is
// not given it is the place of the nearest section that is.
func (c *Config) Position(path string) policy.Position {
	for ; path != ""; path = keys.Parent(path) {
		if at, ok := c.at[path]; ok {
			return at
		}
	}
	return policy.Position{File: c.File}
}

// RedisPassword gives the password of Redis: the environment's, the file's or
// the URL's; "" without one.
func (c *Config) RedisPassword(env func(string) string) (Secret, error) {
	if s := lookup(env, PasswordVariable); s != "" {
		return Secret(s), nil
	}
	if c.Redis.PasswordFile != "" {
		return c.secret("redis.password_file", c.Redis.PasswordFile)
	}
	if c.Redis.URL == "" {
		return "", nil
	}
	o, err := redisurl.Parse(c.Redis.URL)
	if err != nil {
		return "", err
	}
	return Secret(o.Password), nil
}

// AdminToken gives the token that clients of the admin address must send; ""
// without one.
func (c *Config) AdminToken() (Secret, error) {
	if c.Admin.TokenFile == "" {
		return "", nil
	}
	return c.secret("admin.token_file", c.Admin.TokenFile)
}

// maxSecret is more than any password or token.
const maxSecret = 4096

// secret reads a file that holds one secret. Its mode is not looked at: the
// secrets of containers are commonly readable by all in a directory that is
// not.
func (c *Config) secret(path, file string) (Secret, error) {
	file = c.Resolve(file)
	text, _, err := readFile(file, maxSecret)
	if err != nil {
		return "", fmt.Errorf("%s: %s %w", path, file, err)
	}
	s := strings.TrimSpace(string(text))
	switch {
	case s == "":
		return "", fmt.Errorf("%s: %s is empty", path, file)
	case strings.ContainsAny(s, "\r\n\x00"):
		return "", fmt.Errorf("%s: %s holds more than one line", path, file)
	}
	return Secret(s), nil
}
