package app

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// secretLen is that of an HMAC-SHA256 key.
const secretLen = 32

// localSecret reads the key that hides addresses in the store, and makes it at
// the first start. Losing it forgets the greylist, no more.
func localSecret(dir string) ([]byte, error) {
	file := filepath.Join(dir, "secret")
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key := make([]byte, secretLen)
		rand.Read(key) // never fails
		return key, saveSecret(dir, key)
	case err != nil:
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != secretLen {
		return nil, fmt.Errorf("%s: want %d hexadecimal digits; remove the file to start with an empty greylist", file, 2*secretLen)
	}
	return key, nil
}

func saveSecret(dir string, key []byte) error {
	file := filepath.Join(dir, "secret")
	if err := renameio.WriteFile(file, []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}
