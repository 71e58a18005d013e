package store

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/route"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// crashFolder is the variable that makes this program the child of TestCrash, and tells it where.
const crashFolder = "MQTTBROKER_STORE_CRASH"

const crashSessions = 5

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashFolder); dir != "" {
		fmt.Fprintln(os.Stderr, crashChild(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashChild writes, and says what is confirmed, until it is killed. Message n waits for session n mod 5, and every third
// for the next one as well. It says "want n" before it asks for that, "have n" when it is on disk, and for taking it
// out "drop n" and "gone n".
func crashChild(dir string) error {
	s, st, err := Open(dir, start, slog.Default())
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	first := uint64(1)
	for _, k := range st.Sessions {
		first = max(first, k.LastPosition+1)
	}
	for i := range uint64(crashSessions) {
		s.PutSession(session(i))
		s.Subscribe(i, "f", route.Want{QoS: 1})
	}
	room := make(chan struct{}, 50) // messages that are not confirmed
	for n := first; ; n++ {
		select {
		case room <- struct{}{}:
		case err := <-ended:
			return err
		}
		fmt.Println("want", n)
		c := delivery.Copy{Message: message(fmt.Sprint("topic/", n)), QoS: 1}
		body := s.NewBody()
		s.Enqueue(n%crashSessions, n, body, c)
		if n%3 == 0 {
			s.Enqueue((n+1)%crashSessions, n, body, c)
		}
		s.Receive(n%crashSessions, uint16(n))
		s.After(func() {
			fmt.Println("have", n)
			<-room
		})
		if n%4 != 0 && n > 20 {
			old := n - 20 + n%3
			fmt.Println("drop", old)
			s.Done(old%crashSessions, old)
			s.Release(old%crashSessions, uint16(old))
			s.After(func() { fmt.Println("gone", old) })
		}
	}
}

// ledger is what the child has said about each message.
type ledger struct{ want, have, drop, gone map[uint64]bool }

// TestCrash kills a process that writes, at any moment, and finds everything that was confirmed, again and again in one file.
func TestCrash(t *testing.T) {
	leaktest.Check(t)
	dir := t.TempDir()
	l := ledger{map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 8 {
		l.run(t, dir, 1+r.IntN(3000))
		s, st := opened(t, dir)
		if st.Damaged > 0 || len(l.have) > 0 && len(st.Sessions) != crashSessions {
			t.Errorf("round %d: %d sessions, damage %v", round, len(st.Sessions), st.Damage)
		}
		l.check(t, st)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.have) < 100 || len(l.gone) < 20 {
		t.Errorf("it was killed before it could do anything: %d messages, %d gone", len(l.have), len(l.gone))
	}
}

// run lets a child write until it has said so much, and some more, and kills it.
func (l *ledger) run(t *testing.T, dir string, lines int) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashFolder+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	for n := 0; said.Scan(); n++ { // to the end of what it has said, which comes after its death
		if n == lines {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		l.note(t, said.Text())
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child has ended by itself: %v", err)
	}
}

func (l *ledger) note(t *testing.T, line string) {
	t.Helper()
	var verb string
	var n uint64
	if _, err := fmt.Sscan(line, &verb, &n); err != nil {
		t.Fatalf("the child says %q", line)
	}
	switch verb {
	case "want":
		l.want[n] = true
	case "have":
		l.have[n] = true
	case "drop":
		l.drop[n] = true
	case "gone":
		l.gone[n] = true
	}
}

// check looks for what has to be there, and for what must not be.
func (l *ledger) check(t *testing.T, st *State) {
	t.Helper()
	copies, incoming := map[uint64]int{}, map[uint16]bool{}
	for _, k := range st.Sessions {
		for _, q := range k.Queue {
			n := q.Position
			copies[n]++
			if want := fmt.Sprint("topic/", n); q.Copy.Message.Topic != want || !l.want[n] {
				t.Fatalf("at %d of %s there is %s", n, k.ClientID, saidMessage(q.Copy.Message))
			}
		}
		for _, id := range k.Incoming {
			incoming[id] = true
		}
	}
	for n := range l.want {
		most := 1
		if n%3 == 0 {
			most = 2
		}
		switch got := copies[n]; {
		case l.gone[n] && got != most-1:
			t.Fatalf("message %d is gone, and found %d times", n, got)
		case l.have[n] && !l.drop[n] && (got != most || !incoming[uint16(n)]):
			t.Fatalf("message %d was confirmed, and found %d times, identifier %v", n, got, incoming[uint16(n)])
		case !l.drop[n] && got != 0 && got != most:
			t.Fatalf("message %d is there in part", n)
		}
	}
}
