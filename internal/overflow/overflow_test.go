package overflow

import (
	"bytes"
	"testing"
)

// What is kept is a copy, goes from the front, and leaves zeros for who has its room next.
func TestOverflow(t *testing.T) {
	var o Buffers
	sizes := []int{1, smallest, smallest + 1, 4 * smallest, 17_408, 17_409, 64 * smallest}
	held := make([]Handle, len(sizes))
	for i, n := range sizes {
		b := bytes.Repeat([]byte{byte(i + 1)}, n)
		held[i] = o.Keep(b)
		clear(b) // the caller's buffer goes on to be used
	}
	for i, n := range sizes {
		if !bytes.Equal(o.Bytes(held[i]), bytes.Repeat([]byte{byte(i + 1)}, n)) {
			t.Errorf("buffer of %d bytes holds others", n)
		}
	}
	if o.Bytes(0) != nil {
		t.Error("no buffer has bytes")
	}
	o.Skip(&held[2], 1000)
	if got := o.Bytes(held[2]); len(got) != 89 || got[0] != 3 {
		t.Errorf("%d bytes are left of 1089 without 1000", len(got))
	}
	o.Skip(&held[2], 89)
	if held[2] != 0 {
		t.Error("an empty buffer is still held")
	}
	for i := range held {
		o.Drop(&held[i])
		o.Drop(&held[i]) // there is none: nothing happens
	}
	if o.used != 0 {
		t.Errorf("%d buffers are in use, and nobody has any", o.used)
	}
	for class, list := range o.idle {
		for _, room := range list {
			if len(bytes.Trim(room, "\x00")) != 0 {
				t.Errorf("a buffer of class %d was not wiped", class)
			}
		}
	}
	if o.Sweep() || o.held != nil {
		t.Error("something is left after a sweep, and nobody has it")
	}
}

// What is kept for reuse is bounded, is used, and goes with the next sweep; what somebody has stays.
func TestOverflowIdle(t *testing.T) {
	var o Buffers
	list := make([]Handle, 3*mostIdle)
	for range 3 { // again and again
		for i := range list {
			list[i] = o.Keep([]byte("x"))
		}
		if len(o.idle[0]) != 0 {
			t.Errorf("%d buffers are idle, and %d are new", len(o.idle[0]), len(list))
		}
		for i := range list {
			o.Drop(&list[i])
		}
		if len(o.idle[0]) != mostIdle || len(o.held) != len(list)+1 {
			t.Errorf("%d buffers are idle, want %d; places for %d, want %d", len(o.idle[0]), mostIdle, len(o.held)-1, len(list))
		}
	}
	kept := o.Keep([]byte("stays"))
	if !o.Sweep() || len(o.idle[0]) != 0 || string(o.Bytes(kept)) != "stays" {
		t.Error("a sweep took what somebody has, or left what nobody has")
	}
}

// What is added stands behind what was there, whether there is room or not, and a large one grows by doubling.
func TestAdd(t *testing.T) {
	var o Buffers
	var h Handle
	var want []byte
	for i := range 300 {
		piece := bytes.Repeat([]byte{byte(i)}, 1000)
		o.Add(&h, piece)
		want = append(want, piece...)
		if i == 150 {
			o.Skip(&h, 70_123)
			want = want[70_123:]
		}
		if !bytes.Equal(o.Bytes(h), want) {
			t.Fatalf("after %d pieces other bytes are held", i+1)
		}
	}
	if room := len(o.held[h].room); room > 2*300_000 {
		t.Errorf("%d bytes of room for %d", room, len(want))
	}
	if o.Used() != 1 {
		t.Errorf("%d buffers are used, want 1", o.Used())
	}
}
