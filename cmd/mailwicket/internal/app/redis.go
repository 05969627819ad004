package app

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"github.com/redis/go-redis/v9"
)

// errRedis is a Redis that does not answer.
var errRedis = errors.New("redis does not answer")

// redisTrouble is an errRedis that says what can be done, where that is known. The
// error of shareSecret may be one already.
func redisTrouble(err error) error {
	if errors.Is(err, errRedis) {
		return err
	}
	remedy := redisRemedy(err)
	if remedy == "" {
		return fmt.Errorf("%w: %w", errRedis, err)
	}
	return fmt.Errorf("%w: %w: %s", errRedis, err, remedy)
}

func redisRemedy(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
	)
	switch {
	case errors.As(err, &authority):
		return "name the authority that signed its certificate in redis.ca_file"
	case errors.As(err, &name):
		return "write the host in redis.url as its certificate does"
	case errors.Is(err, io.EOF):
		return "if it speaks TLS there, write rediss:// in redis.url"
	case redis.IsAuthError(err):
		return "look at redis.username and redis.password_file"
	case redis.IsPermissionError(err):
		return "give its user the rights that the manual lists (redis.md)"
	}
	return ""
}
