package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// fileName is the file in the node's folder.
	fileName = "mqttbroker.db"

	// lockWait is how long another process may take to let go of the file: one that is being replaced closes its file last.
	lockWait = 3 * time.Second

	// firstMap is how much address space the file is mapped in, in bytes. When it outgrows that, all that has changed in the
	// transaction is copied: not so soon, and from then on whenever it has doubled.
	firstMap = 256 << 20
)

// options are those of bbolt. The list of free pages is not written with each commit: after a long queue that has been emptied
// it would be most of what is written. What it costs is that all pages are looked at when the file is opened, which Open
// does anyway.
func options(readOnly bool) *bbolt.Options {
	return &bbolt.Options{
		Timeout:         lockWait,
		ReadOnly:        readOnly,
		NoFreelistSync:  true,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: firstMap,
		NoStatistics:    true,
	}
}

// Open opens the file mqttbroker.db in a folder, both of which it makes when they are not there, and returns what is in it. What has
// expired by now is left out, and is out of the file as well. Run is to be called next, or Close.
//
// It fails when another process has the file, when a newer version of this program has written it, and when it is damaged.
// Records that cannot be read in a file that is otherwise sound are left out, are counted in State.Damaged, and stay in the file.
func Open(dir string, now time.Time, log *slog.Logger) (*Store, *State, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the folder for what is kept: %w", err)
	}
	path := filepath.Join(dir, fileName)
	if err := create(path); err != nil {
		return nil, nil, fmt.Errorf("make %s: %w", path, err)
	}
	l, err := read(path, now)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &Store{
		path: path, log: log, commitTx: (*bbolt.Tx).Commit, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		refs: l.refs, next: new(batch), idle: new(batch),
	}
	s.bodies.Store(l.lastBody)
	if err := s.open(l); err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, &l.state, nil
}

// create makes an empty file with everything that belongs in one, unless there is a file. It gets its name when it is
// whole, so that a power cut leaves either.
func create(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	draft, err := os.CreateTemp(filepath.Dir(path), fileName+".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	defer draft.Close()
	if err := initialize(draft.Name()); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) { // unlike Rename, it takes nobody's place
		return err
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return err
	}
	_ = syncFolder(filepath.Dir(filepath.Dir(path))) // where the folder is new; a service may not be allowed to read that
	return nil
}

func initialize(path string) error {
	db, err := bbolt.Open(path, 0o600, options(false))
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range bucketNames {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(bucketNames[0])).Put(formatKey, binary.BigEndian.AppendUint32(nil, format))
	})
	return errors.Join(err, db.Close())
}

// syncFolder makes the names in a folder last.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// read reads everything there is without changing it, since bbolt can end the process when it
// opens a damaged file for writing. Here damage is an error.
func read(path string, now time.Time) (l *loader, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		return nil, errors.New("it is empty: remove it")
	}
	warm(path)
	db, err := bbolt.Open(path, 0o600, options(true))
	if err != nil {
		return nil, explain(err)
	}
	defer db.Close()
	tx, err := db.Begin(false)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errBroken, p)
		}
		_ = tx.Rollback()
	}()
	if info, err := os.Stat(path); err != nil || info.Size() < tx.Size() {
		return nil, errors.Join(errBroken, err)
	}
	if err := checkFormat(tx); err != nil {
		return nil, err
	}
	return load(tx, now)
}

// warm reads a file from its beginning to its end. The pages of the map would be read one by one otherwise, in the order of keys.
func warm(path string) {
	if f, err := os.Open(path); err == nil {
		_, _ = io.Copy(io.Discard, f) // what goes wrong here goes wrong again where it matters
		f.Close()
	}
}

// explain says what to try.
func explain(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return errors.New("another process has it: give each node a folder of its own, or end the other process")
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return err
}

func checkFormat(tx *bbolt.Tx) error {
	about := tx.Bucket([]byte(bucketNames[0]))
	if about == nil || open(tx) == nil || len(about.Get(formatKey)) != 4 {
		return errors.New("it is not a file of this program: move it away, or name another folder")
	}
	if v := binary.BigEndian.Uint32(about.Get(formatKey)); v > format {
		return fmt.Errorf("it has format %d, this program knows %d: use the newer program that has written it, or move the file away", v, format)
	}
	return nil
}

// open opens the file for writing, and takes out what has expired.
func (s *Store) open(l *loader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errBroken, p)
		}
	}()
	if s.db, err = bbolt.Open(s.path, 0o600, options(false)); err != nil {
		return explain(err)
	}
	if err := s.clean(l); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// cleanStep bounds the records that are taken out in one transaction, which holds them in memory.
const cleanStep = 50_000

// clean takes out what the loader has found to be out of date, unless somebody has changed the file since.
func (s *Store) clean(l *loader) error {
	for first := true; first || len(l.doomed) > 0; first = false {
		tx, err := s.db.Begin(true)
		if err != nil {
			return err
		}
		if first && tx.ID() != l.id+1 {
			return errors.Join(errors.New("another process has changed it meanwhile: start again"), tx.Rollback())
		}
		n := min(len(l.doomed), cleanStep)
		if n == 0 {
			return tx.Rollback()
		}
		for _, d := range l.doomed[:n] {
			if err := tx.Bucket([]byte(d.bucket)).Delete(d.key); err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		l.doomed = l.doomed[n:]
	}
	return nil
}
