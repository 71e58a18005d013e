package record

import (
	"reflect"
	"testing"
	"unsafe"
)

// A State fits its place in a million connections, and the collector finds nothing in it.
func TestStateIsPlain(t *testing.T) {
	if size := unsafe.Sizeof(State{}); size > 144 {
		t.Errorf("a State has %d bytes, at most 256 were promised", size)
	}
	if place := pointerIn(reflect.TypeFor[State]()); place != "" {
		t.Errorf("State%s has a pointer", place)
	}
	if pointerIn(reflect.TypeFor[struct{ a [2]struct{ b []byte } }]()) != ".a[].b " {
		t.Error("the test does not find pointers")
	}
}

// pointerIn says where in a type there is something with a pointer.
func pointerIn(typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return ""
	case reflect.Array:
		if in := pointerIn(typ.Elem()); in != "" {
			return "[]" + in
		}
		return ""
	case reflect.Struct:
		for i := range typ.NumField() {
			if in := pointerIn(typ.Field(i).Type); in != "" {
				return "." + typ.Field(i).Name + in
			}
		}
		return ""
	}
	return " "
}

func TestWipe(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, _ := connect(t, f, source(1))
		cl.data("x")
		cl.Wipe()
		if cl.State != (State{}) {
			t.Error("something is left")
		}
		panics(t, "a wiped State", func() { cl.data("x") })
	})
}

func panics(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

func TestSealPanics(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, _ := connect(t, f, source(1))
		room := make([]byte, MaxPlaintext+MaxOverhead+1)
		panics(t, "too much", func() { cl.Seal(cl.c, room, MaxPlaintext+1) })
		panics(t, "less than nothing", func() { cl.Seal(cl.c, room, -1) })
		panics(t, "no room", func() { n := 10 + cl.Overhead() - 1; cl.Seal(cl.c, room[:n:n], 10) })
		if got := len(cl.Seal(cl.c, room[:0:10+cl.Overhead()], 10)); got != 10+cl.Overhead() {
			t.Errorf("10 bytes became %d, want %d more", got, cl.Overhead())
		}
		cl.AppendAlert(cl.c, nil, InternalError)
		panics(t, "after an alert", func() { cl.Seal(cl.c, room, 10) })
	})
}

// Sizes are those that the documentation says.
func TestSizes(t *testing.T) {
	want := map[string][2]int{
		flavors[0].String(): {5, 22}, flavors[1].String(): {5, 22}, flavors[2].String(): {5, 22},
		flavors[3].String(): {13, 29}, flavors[4].String(): {13, 29}, flavors[5].String(): {5, 21},
	}
	each(t, func(t *testing.T, f flavor) {
		cl, _ := connect(t, f, source(1))
		if got := [2]int{cl.Prefix(), cl.Overhead()}; got != want[f.String()] || got[0] > MaxPrefix || got[1] > MaxOverhead {
			t.Errorf("prefix and overhead %v, want %v, at most %d, %d", got, want[f.String()], MaxPrefix, MaxOverhead)
		}
		full := cl.data(string(make([]byte, MaxPlaintext)))
		if len(full) != MaxPlaintext+cl.Overhead() || len(full) > HeaderSize+MaxCiphertext || Size(full) != len(full) || Size(full[:4]) != 0 {
			t.Errorf("a full record has %d bytes, and says %d", len(full), Size(full))
		}
	})
}

// A State that lives on in another loop, with a hint that leads to somebody else's cipher there, goes on with its own.
func TestStateMovesBetweenCaches(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		a, b := connect(t, f, source(1))
		x, y := connect(t, f, source(2))
		loops := []*Cache{NewCache(4), NewCache(4), NewCache(1)}
		a.c, b.c, x.c, y.c = loops[0], loops[0], loops[1], loops[1]
		for i := range 12 {
			b.wants(t, "for b", a.data("for b"))
			y.wants(t, "for y", x.data("for y"))
			a.wants(t, "for a", b.data("for a"))
			a.c, x.c, b.c, y.c = loops[i%3], loops[(i+1)%3], loops[(i/2)%3], loops[(i+2)%3]
		}
	})
}

// A key is one of a suite: the cipher of another is none.
func TestCacheKnowsSuites(t *testing.T) {
	cl, sv := connect(t, flavors[1], source(1))
	other, _ := connect(t, flavors[2], source(1))
	c := cl.c
	other.c = c
	cl.data("x")
	other.out = cl.out
	other.out.seq = 0
	if _, _, err := sv.open(other.data("x")); err == nil {
		t.Error("ChaCha20-Poly1305 was AES")
	}
}

func TestCacheIsBounded(t *testing.T) {
	const most = 8
	c := NewCache(most)
	var ends [][2]*end
	for i := range 20 {
		a, b := connect(t, flavors[i%len(flavors)], source(uint64(i)))
		a.c, b.c = c, c
		ends = append(ends, [2]*end{a, b})
	}
	for range 5 {
		for _, e := range ends {
			e[1].wants(t, "data", e[0].data("data"))
		}
		if len(c.entries) > most {
			t.Fatalf("%d entries, want at most %d", len(c.entries), most)
		}
	}
}

// CLOCK keeps what is used between two evictions.
func TestCacheKeepsTheBusy(t *testing.T) {
	c := NewCache(4)
	busy, _ := connect(t, flavors[0], source(0))
	busy.c = c
	busy.data("x")
	kept := c.find(&busy.out).aead
	for i := range 50 {
		other, _ := connect(t, flavors[0], source(uint64(i+1)))
		other.c = c
		other.data("x")
		busy.data("x")
		if e := c.find(&busy.out); i > 4 && (e == nil || e.aead != kept) {
			t.Fatalf("the busiest cipher was evicted in round %d", i)
		}
		kept = c.find(&busy.out).aead
	}
}

func TestSweep(t *testing.T) {
	c := NewCache(100)
	busy, _ := connect(t, flavors[0], source(0))
	idle, _ := connect(t, flavors[0], source(1))
	busy.c, idle.c = c, c
	busy.data("x")
	idle.data("x")
	if !c.Sweep() || c.find(&idle.out) == nil {
		t.Error("a cipher that was used since the last Sweep is gone")
	}
	busy.data("x")
	if !c.Sweep() || c.find(&idle.out) != nil || c.find(&busy.out) == nil {
		t.Error("not the idle one alone is gone")
	}
	idle.data("x")
	if len(c.entries) != 2 {
		t.Errorf("%d entries: the free one was not taken", len(c.entries))
	}
	c.Sweep()
	if c.Sweep() || c.entries != nil || c.free != nil {
		t.Error("an idle cache holds something")
	}
	busy.data("x")
}
