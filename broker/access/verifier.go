package access

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Limits are those of a Verifier.
type Limits struct {
	// Workers is how many passwords are verified at once, each on a core of its own; 0 is half of GOMAXPROCS,
	// so that event loops keep the other half.
	Workers int

	// Queue is how many more logins may wait; 0 is 1,024, some seconds of work at htpasswd's own cost. A
	// longer queue holds only clients that have given up.
	Queue int

	// Entries is how many logins that were right are remembered; 0 is 131,072. Each takes about 100 bytes.
	Entries int

	// Lifetime is how long each is remembered; 0 is 24 hours.
	Lifetime time.Duration
}

// withDefaults returns l with what stands for 0.
func (l Limits) withDefaults() Limits {
	if l.Workers <= 0 {
		l.Workers = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if l.Queue <= 0 {
		l.Queue = 1024
	}
	if l.Entries <= 0 {
		l.Entries = 1 << 17
	}
	if l.Lifetime <= 0 {
		l.Lifetime = 24 * time.Hour
	}
	return l
}

// A Verifier compares passwords with hashes, away from the goroutines that must not wait, and remembers which
// were right. Its methods may be called from any goroutine.
type Verifier struct {
	limits Limits
	key    [32]byte // of the sums; drawn when the process starts, and never told
	start  time.Time
	jobs   chan job

	mu     sync.Mutex // guards the fields below
	known  cache
	closed bool // Run is over: nobody takes jobs
}

// A job is one password to verify.
type job struct {
	ctx      context.Context
	users    *users
	name     string
	password []byte
	done     func(Outcome)
}

// NewVerifier returns a Verifier. It starts nothing: call Run.
func NewVerifier(l Limits) *Verifier {
	l = l.withDefaults()
	v := &Verifier{limits: l, start: time.Now(), jobs: make(chan job, l.Queue), known: cache{limit: l.Entries}}
	rand.Read(v.key[:]) // never fails
	return v
}

// Run verifies what Submit brings until ctx is done, and returns nil when its goroutines are gone and everybody who waited
// has been told that it is Busy. Call it once.
func (v *Verifier) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range v.limits.Workers {
		workers.Go(func() { v.work(ctx) })
	}
	workers.Wait()
	v.close()
	for {
		select {
		case j := <-v.jobs:
			j.end(Busy)
		default:
			return nil
		}
	}
}

// close lets no more jobs in.
func (v *Verifier) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
}

// work does one job after the other until ctx is done.
func (v *Verifier) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-v.jobs:
			j.end(v.verify(&j))
		}
	}
}

// Check says whether this password was right for this name a short while ago, by the users file of s. It takes about a
// microsecond, and says no to what must be verified. s has a users file: Decide said MustVerify.
func (v *Verifier) Check(s *Snapshot, name string, password []byte) bool {
	if len(password) > maxPassword {
		return false
	}
	hash, _ := s.users.lookup(name)
	return v.remembers(v.sum(hash, name, password))
}

// Submit has the password verified with the users file of s, and done called with Allowed, BadCredentials or Busy:
// exactly once, by a goroutine of Run, which done must not hold up. It reports false, and
// does not call done, when too many wait already or Run is over: that is Busy as well.
//
// The password is copied, and the copy wiped afterwards. When ctx is done before the turn of this login comes, nothing is
// computed any more; done is called when it comes. A comparison that has begun goes on to its end.
func (v *Verifier) Submit(ctx context.Context, s *Snapshot, name string, password []byte, done func(Outcome)) bool {
	j := job{ctx, s.users, name, bytes.Clone(password[:min(len(password), maxPassword+1)]), done}
	if v.enqueue(j) {
		return true
	}
	clear(j.password)
	return false
}

// enqueue lets a job in if there is room.
func (v *Verifier) enqueue(j job) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	select {
	case v.jobs <- j:
		return true
	default:
		return false
	}
}

// end tells what became of a job.
func (j *job) end(o Outcome) {
	clear(j.password)
	j.done(o)
}

// verify compares. The sum is looked up once more: of many clients with one name that come at once, one has
// brought the answer by now.
func (v *Verifier) verify(j *job) Outcome {
	if j.ctx.Err() != nil {
		return Busy
	}
	if len(j.password) > maxPassword {
		return BadCredentials
	}
	hash, known := j.users.lookup(j.name)
	s := v.sum(hash, j.name, j.password)
	if v.remembers(s) {
		return Allowed
	}
	err := bcrypt.CompareHashAndPassword([]byte(hash), j.password) // in constant time, but for the cost
	if err != nil || !known {
		return BadCredentials
	}
	v.remember(s)
	return Allowed
}

// sum is what is remembered of a login: nothing that helps to guess the password for who does not have the
// key. A hash that has changed makes another sum. The hash has a fixed length, so no two logins run into one.
func (v *Verifier) sum(hash, name string, password []byte) (s sum) {
	h := hmac.New(sha256.New, v.key[:])
	h.Write([]byte(hash))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(name))))
	h.Write([]byte(name))
	h.Write(password)
	h.Sum(s[:0])
	return s
}

// remembers says whether s is that of a login that was right. That a map is not searched in constant time tells
// nothing: nobody outside can choose a sum, or know one.
func (v *Verifier) remembers(s sum) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.known.has(s, time.Since(v.start))
}

// remember keeps s for its lifetime.
func (v *Verifier) remember(s sum) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Since(v.start)
	v.known.put(s, now, now+v.limits.Lifetime)
}
