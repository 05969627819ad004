package probe

import (
	"errors"
	"io/fs"
	"os"

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
		d.Unwritable = unwritable(dir)
	}
	return d
}

// unwritable tells why a file cannot be written to a directory.
func unwritable(dir string) string {
	f, err := os.CreateTemp(dir, ".doctor")
	if err != nil {
		return cause(err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 4096))
	if err = errors.Join(err, f.Close()); err != nil {
		return cause(err)
	}
	return ""
}

// cause takes the made-up file's name off.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
