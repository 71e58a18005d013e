package access

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fleet is an ACL file of 10,000 users with 20 lines each, and two patterns.
func fleet() string {
	var b strings.Builder
	for user := range 10_000 {
		fmt.Fprintf(&b, "user device-%d\n", user)
		for i := range 18 {
			fmt.Fprintf(&b, "topic readwrite plant/%d/line-%d/+/state\n", user, i)
		}
		fmt.Fprintf(&b, "topic deny plant/%d/line-3/door/#\ntopic read news/#\n", user)
	}
	b.WriteString("pattern write devices/%u/state\npattern read devices/%u/#\n")
	return b.String()
}

// BenchmarkMayPublish asks for a user's own topic and for one of a pattern, from users in an order that no cache of
// the processor foresees. It fails when that allocates.
func BenchmarkMayPublish(b *testing.B) {
	text := fleet()
	before := heap()
	r := rulesOf(b, text)
	bytes := heap() - before
	var users, names [4096]string
	for i := range users {
		n := i * 7919 % 10_000
		users[i] = fmt.Sprintf("device-%d", n)
		names[i] = fmt.Sprintf("plant/%d/line-%d/pump/state", n, i%18)
		if i%2 == 1 {
			names[i] = fmt.Sprintf("devices/device-%d/state", n)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 1) % len(users)
		if !r.MayPublish(users[i], "id", names[i]) {
			b.Fatalf("%s may not publish to %s", users[i], names[i])
		}
	}
	if n := testing.AllocsPerRun(100, func() { r.MayPublish(users[0], "id", names[0]) }); n > 0 {
		b.Errorf("%v allocations", n)
	}
	b.ReportMetric(float64(bytes)/200_000, "B/rule")
	runtime.KeepAlive(r)
}

// heap is what is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMayPublishMany is one user with 5,000 lines.
func BenchmarkMayPublishMany(b *testing.B) {
	var text strings.Builder
	text.WriteString("user back end\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "topic read plant/%d/+/state\n", i)
	}
	r := rulesOf(b, text.String()+"topic write plant/4711/#\n")
	b.ReportAllocs()
	for b.Loop() {
		if !r.MayPublish("back end", "id", "plant/4711/pump/state") {
			b.Fatal("refused")
		}
	}
}

// BenchmarkLoad is reading 200,000 lines.
func BenchmarkLoad(b *testing.B) {
	text := fleet()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		rulesOf(b, text)
	}
}

// BenchmarkCheck is a login that is remembered.
func BenchmarkCheck(b *testing.B) {
	v, s := NewVerifier(Limits{}), loaded(b, quick, "-", false)
	hash, _ := s.users.lookup("alice")
	password := []byte("not-a-real-password")
	v.remember(v.sum(hash, "alice", password))
	b.ReportAllocs()
	for b.Loop() {
		if !v.Check(s, "alice", password) {
			b.Fatal("forgotten")
		}
	}
}

// BenchmarkVerify is a login of htpasswd's own cost that is not remembered.
func BenchmarkVerify(b *testing.B) {
	s := loaded(b, fromHtpasswd, "-", false)
	v := NewVerifier(Limits{Lifetime: time.Nanosecond})
	j := &job{ctx: b.Context(), users: s.users, name: "alice", password: []byte("not-a-real-password")}
	for b.Loop() {
		if v.verify(j) != Allowed {
			b.Fatal("refused")
		}
	}
}
