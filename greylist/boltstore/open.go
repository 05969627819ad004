package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"mailwicket/greylist"
)

// ErrLocked says that another process has the file open.
var ErrLocked = errors.New("in use by another process")

// Options of a store. The zero value is usable.
type Options struct {
	Interval   time.Duration // between commits; 0 means 200 ms
	MaxRecords int           // what the file is kept to; 0 means two million, about 250 MB
	Now        func() time.Time
	Log        *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Interval <= 0 {
		o.Interval = 200 * time.Millisecond
	}
	if o.MaxRecords <= 0 {
		o.MaxRecords = 2_000_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// lockWait is for a predecessor that is just closing the file.
const lockWait = 500 * time.Millisecond

// Open opens or creates the file, and upgrades it where it is of an earlier
// format. Errors are one line that says what to do: ErrLocked,
// greylist.ErrVersion, fs.ErrPermission and fs.ErrNotExist can be told apart.
func Open(path string, o Options) (*Store, error) {
	db, err := open(path, 0)
	if err != nil {
		return nil, err
	}
	if err := prepare(db, path); err != nil {
		_ = db.Close()
		return nil, err
	}
	s := newStore(db, o.withDefaults())
	go s.run()
	return s, nil
}

func open(path string, maxSize int) (db *bbolt.DB, err error) {
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait,
			FreelistType: bbolt.FreelistMapType, InitialMmapSize: 64 << 20, MaxSize: maxSize})
		return err
	})
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("greylist file %s: %w: stop it, or let it do the work (mailwicket greylist asks the running server)", path, ErrLocked)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("greylist file %s: its folder does not exist: create it, or set data_dir: %w", path, fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("greylist file %s: not writable by this user: change its owner, or set data_dir: %w", path, fs.ErrPermission)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("greylist file %s: damaged, or not a greylist file: move it away to start anew: %w", path, err)
	}
	return nil, fmt.Errorf("greylist file %s: %w", path, err)
}

// The file's buckets, and the keys of the bucket meta.
const (
	metaBucket    = "meta"
	recordsBucket = "records"
	formatKey     = "format"  // decimal number
	countKey      = "records" // how many there are, big endian
)

// upgrades are the steps from each format of the file to the next, oldest
// first. The current format is one more than their number.
func upgrades() []func(*bbolt.Tx) error { return nil }

func prepare(db *bbolt.DB, path string) error {
	err := guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error { return migrate(tx, upgrades()) })
	})
	if err != nil {
		return fmt.Errorf("greylist file %s: %w", path, err)
	}
	return nil
}

// migrate brings the file to the current format: all steps or none.
func migrate(tx *bbolt.Tx, steps []func(*bbolt.Tx) error) error {
	current := len(steps) + 1
	meta := tx.Bucket([]byte(metaBucket))
	if meta == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return errors.New("not a greylist file: move it away to start anew")
		}
		return create(tx, current)
	}
	format, err := strconv.Atoi(string(meta.Get([]byte(formatKey))))
	if err != nil || format < 1 || tx.Bucket([]byte(recordsBucket)) == nil {
		return errors.New("not a greylist file: move it away to start anew")
	}
	if format > current {
		return fmt.Errorf("format %d, this program knows up to %d: upgrade the program, or move the file away to start anew: %w",
			format, current, greylist.ErrVersion)
	}
	for ; format < current; format++ {
		if err := steps[format-1](tx); err != nil {
			return fmt.Errorf("upgrade from format %d: %w", format, err)
		}
	}
	return meta.Put([]byte(formatKey), []byte(strconv.Itoa(current)))
}

func create(tx *bbolt.Tx, format int) error {
	meta, err := tx.CreateBucket([]byte(metaBucket))
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucket([]byte(recordsBucket)); err != nil {
		return err
	}
	return meta.Put([]byte(formatKey), []byte(strconv.Itoa(format)))
}

// count reads how many records there are.
func count(tx *bbolt.Tx) int {
	b := tx.Bucket([]byte(metaBucket)).Get([]byte(countKey))
	if len(b) != 8 {
		return 0
	}
	return int(binary.BigEndian.Uint64(b))
}

func setCount(tx *bbolt.Tx, n int) error {
	return tx.Bucket([]byte(metaBucket)).Put([]byte(countKey), binary.BigEndian.AppendUint64(nil, uint64(max(n, 0))))
}

// guard makes an error of the panic with which bbolt answers a damaged file.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("file damaged: %v", v)
		}
	}()
	return f()
}
