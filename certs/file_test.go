package certs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFileError is about what a test that may run as root cannot bring about with real files.
func TestFileError(t *testing.T) {
	tests := map[string]struct {
		err  error
		want string
		is   error
	}{
		"forbidden": {&fs.PathError{Op: "open", Path: "/p", Err: syscall.EACCES}, "permission denied: make it readable for the user that runs this program", fs.ErrPermission},
		"missing":   {&fs.PathError{Op: "stat", Path: "/p", Err: syscall.ENOENT}, "no such file or directory: check the path", fs.ErrNotExist},
		"disk":      {&fs.PathError{Op: "read", Path: "/p", Err: syscall.EIO}, "read: input/output error", syscall.EIO},
	}
	for name, tt := range tests {
		got := fileError(tt.err)
		if got.Error() != tt.want || !errors.Is(got, tt.is) {
			t.Errorf("%s: got %v, want %s", name, got, tt.want)
		}
	}
}

func TestReadFileLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := readFile(path, 1<<20); err != nil || len(data) != 1<<20 {
		t.Errorf("at the limit: %d bytes, %v", len(data), err)
	}
	if _, err := readFile(path, 1<<20-1); err == nil {
		t.Error("beyond the limit: no error")
	}
}
