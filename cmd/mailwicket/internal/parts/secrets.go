package parts

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/policy"
)

// authorities gives those that may sign the certificate of Redis; nil stands for
// the system's.
func authorities(c *config.Config) (*x509.CertPool, error) {
	if c.Redis.CAFile == "" {
		return nil, nil
	}
	file := c.Resolve(c.Redis.CAFile)
	pem, err := os.ReadFile(file)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return nil, fmt.Errorf("redis.ca_file: %s cannot be read: %w", file, pe.Err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("redis.ca_file: %s holds no PEM certificate", file)
	}
	return pool, nil
}

// Secrets tells which of the files that hold a secret, or that Redis is trusted by,
// cannot be used: the server does not start without them. With problems elsewhere
// it looks at those that are named all the same.
func Secrets(c *config.Config, env func(string) string) []policy.Problem {
	var problems []policy.Problem
	tell := func(path, hint string, err error) {
		switch {
		case err == nil:
			return
		case errors.Is(err, fs.ErrNotExist):
			hint = "write it, or take the key out"
		case errors.Is(err, fs.ErrPermission):
			hint = "let the server's user read it"
		}
		problems = append(problems, policy.Problem{At: c.Position(path), Path: path, Message: strings.TrimPrefix(err.Error(), path+": "), Hint: hint})
	}
	const line = "write one line there, with nothing but the secret"
	_, err := c.AdminToken()
	tell("admin.token_file", line, err)
	if c.Redis.PasswordFile != "" {
		_, err = c.RedisPassword(env)
		tell("redis.password_file", line, err)
	}
	_, err = authorities(c)
	tell("redis.ca_file", "put the authority's certificate there, -----BEGIN CERTIFICATE-----", err)
	for i, z := range c.DNSBL {
		if z.Mode != "off" {
			_, err := c.ZoneKey(i, env)
			tell(fmt.Sprintf("dnsbl[%d].key_file", i), line, err)
		}
	}
	return problems
}
