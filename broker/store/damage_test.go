package store

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/route"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"go.etcd.io/bbolt"
)

// filled makes a file with something of everything, and returns its name.
func filled(t *testing.T, dir string) string {
	t.Helper()
	s, _ := opened(t, dir)
	stop := run(t, s)
	for i := range uint64(50) {
		s.PutSession(session(i))
		s.Receive(i, 5)
		for j := range uint64(20) {
			s.Subscribe(i, fmt.Sprintf("f/%d/%d", i, j), route.Want{})
			s.Enqueue(i, j, 0, delivery.Copy{Message: message(fmt.Sprintf("q/%d/%d", i, j)), QoS: 1})
		}
		s.Retain(message(fmt.Sprintf("r/%d", i)))
		wait(t, s)
	}
	stop()
	return s.path
}

// edit changes records of a file behind the store's back.
func edit(t *testing.T, path string, f func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, options(false))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
}

// TestSecondOpener: a file has one process at a time.
func TestSecondOpener(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { // bbolt waits for three seconds
		s, _ := opened(t, dir)
		_, _, err := Open(dir, start, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), s.path) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("the second one gets %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s, _ := opened(t, dir)
	s.Close()
}

// TestNotOurs: files that are no use are refused with their name, and stay as they are.
func TestNotOurs(t *testing.T) {
	leaktest.Check(t)
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		says string
	}{
		"empty":     {func(t *testing.T, path string) { os.WriteFile(path, nil, 0o600) }, "empty"},
		"text":      {func(t *testing.T, path string) { os.WriteFile(path, []byte(strings.Repeat("text ", 9999)), 0o600) }, "damaged"},
		"folder":    {func(t *testing.T, path string) { os.Mkdir(path, 0o700) }, "damaged"},
		"truncated": {func(t *testing.T, path string) { filled(t, filepath.Dir(path)); os.Truncate(path, 40<<10) }, "damaged"},
		"newer": {func(t *testing.T, path string) {
			filled(t, filepath.Dir(path))
			edit(t, path, func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("about")).Put(formatKey, binary.BigEndian.AppendUint32(nil, format+1))
			})
		}, "newer program"},
		"another's": {func(t *testing.T, path string) {
			edit(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("x")); return err })
		}, "not a file of this program"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, fileName)
			c.make(t, path)
			before, _ := os.ReadFile(path)
			_, _, err := Open(dir, start, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Open: %v; want %s and %q", err, path, c.says)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file is not as it was")
			}
		})
	}
}

// TestChangedMeanwhile: between reading and writing, the file is nobody's.
func TestChangedMeanwhile(t *testing.T) {
	leaktest.Check(t)
	path := filled(t, t.TempDir())
	l, err := read(path, start)
	if err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("sessions")).Delete(appendNumber(nil, 1)) })
	s := &Store{path: path}
	if err := s.open(l); err == nil || !strings.Contains(err.Error(), "start again") {
		t.Errorf("open: %v", err)
	}
}

// TestDamagedPages: whatever is in the pages, there is an error or a state, and no panic. Pages that nobody needs do not matter.
func TestDamagedPages(t *testing.T) {
	dir := t.TempDir()
	path := filled(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	r := rand.New(rand.NewPCG(3, 4))
	refused := 0
	for i := range 60 {
		bad := append([]byte(nil), whole[:1<<20]...)
		at := (2 + r.IntN(100)) * page
		switch i % 3 {
		case 0:
			clear(bad[at : at+page])
		case 1:
			for j := range page {
				bad[at+j] = byte(r.Uint32())
			}
		case 2: // another page in its place
			copy(bad[at:at+page], whole[(2+r.IntN(100))*page:])
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, _, err := Open(dir, start, slog.New(slog.DiscardHandler))
		if err == nil {
			s.Close()
			continue
		}
		refused++
		if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("Open: %v", err)
		}
	}
	if refused == 0 {
		t.Error("no damage was found")
	}
}

// TestDamagedRecords: they are told, they stay, and do no harm to others.
func TestDamagedRecords(t *testing.T) {
	leaktest.Check(t)
	dir := t.TempDir()
	path := filled(t, dir)
	edit(t, path, func(tx *bbolt.Tx) error {
		b := open(tx)
		last, _ := b.bodies.Cursor().Last()
		for _, p := range []struct {
			bucket *bbolt.Bucket
			key    []byte
		}{
			{b.sessions, appendNumber(nil, 3)},
			{b.queue, appendNumber(appendNumber(nil, 4), 19)},
			{b.filters, append(appendNumber(nil, 4), "f/4/2"...)},
			{b.filters, []byte("short")},
			{b.bodies, last},
			{b.bodies, appendNumber(nil, 1<<40)},
			{b.retained, []byte("r/7")},
			{b.incoming, []byte("short")},
		} {
			if err := p.bucket.Put(append([]byte(nil), p.key...), []byte{0xff, 1, 2, 3}); err != nil {
				return err
			}
		}
		return b.queue.Put(appendNumber(appendNumber(nil, 5), 30), appendEntry(nil, entry{body: 1 << 41, qos: 1}))
	})
	before := records(t, dir) - 1 // a body goes that a damaged record of the queue has named
	for range 2 {
		s, st := opened(t, dir)
		if st.Damaged != 10 || len(st.Damage) != 10 { // the last body counts twice: there is a message that names it
			t.Errorf("%d damaged: %v", st.Damaged, st.Damage)
		}
		if len(st.Sessions) != 49 || len(st.Retained) != 49 || st.Sessions[3].Number != 4 || len(st.Sessions[3].Queue) != 19 ||
			st.Sessions[3].LastPosition != 19 || len(st.Sessions[3].Subscriptions) != 19 || len(st.Sessions[48].Queue) != 19 || st.LastSession != 49 {
			t.Errorf("what is left: %s", said(st))
		}
		if n := s.NewBody(); n != 1<<41+1 {
			t.Errorf("the next body is %d", n)
		}
		s.Close()
	}
	if after := records(t, dir); after != before {
		t.Errorf("%d records of %d are left", after, before)
	}
	s, _ := opened(t, dir)
	stop := run(t, s)
	for i := range uint64(50) {
		s.DeleteSession(i)
		s.Unretain(fmt.Sprint("r/", i))
	}
	stop()
	if n := records(t, dir); n != 3 { // two whose keys are short, and a body that nobody wants
		t.Errorf("%d records are left", n)
	}
}
