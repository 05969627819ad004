package probe

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"mailwicket/cmd/mailwicket/internal/doctor"
)

// Disk looks at the place of data_dir; nil where that cannot be seen. With write
// it tries to write there: that is for the user that the filter runs as.
func Disk(dir string, write bool) *doctor.Disk {
	d := &doctor.Disk{Dir: dir}
	var ok bool
	if d.Free, d.Total, ok = room(dir); !ok && !write {
		return nil
	}
	if write {
		tried(d, tryWriting(dir))
	}
	return d
}

// tried notes how writing went. Lack of room is no lack of rights.
func tried(d *doctor.Disk, err error) {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		d.Full = true
	case err != nil:
		d.Unwritable = cause(err)
	}
}

// tryWriting writes a file to a directory.
func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Close())
}

// cause takes the made-up file's name off.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
