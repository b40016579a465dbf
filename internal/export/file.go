package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	fileLimit = 64 << 20 // bytes, then the file is put aside
	filesKept = 8        // that were put aside; the oldest goes when there is one more
)

// file writes lines into a file that is rotated: PATH, and PATH.1 to PATH.8 from the
// newest to the oldest. What was taken is on disk.
type file struct {
	path  string
	limit int64
	f     *os.File // nil after something failed; the next Take opens it again
	size  int64
}

func openFile(path string) (*file, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s := &file{path: path, limit: fileLimit}
	return s, s.open()
}

func (s *file) Name() string { return "file:" + s.path }

func (s *file) Close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}

// open opens the file at its end. A line that a crash has cut off goes: its event comes
// again.
func (s *file) open() error {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("ocsf: %w", err)
	}
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, s.size = f, size
	return nil
}

// wholeLines returns where the last whole line of a file ends.
func wholeLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for end > 0 {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

func (s *file) Take(_ context.Context, events []Event) (err error) {
	defer func() {
		if err != nil && s.f != nil { // what is in the file now is looked at when it is opened again
			_ = s.Close()
		}
	}()
	if s.f == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	b := lines(events)
	if s.size > 0 && s.size+int64(len(b)) > s.limit {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	if _, err := s.f.Write(b); err != nil {
		return err
	}
	s.size += int64(len(b))
	return s.f.Sync()
}

func (s *file) rotate() error {
	if err := s.Close(); err != nil {
		return err
	}
	name := func(i int) string {
		if i == 0 {
			return s.path
		}
		return fmt.Sprintf("%s.%d", s.path, i)
	}
	for i := filesKept; i > 0; i-- {
		if err := os.Rename(name(i-1), name(i)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return s.open()
}
