package handshake

import (
	"slices"
	"testing"
	"time"
)

func TestTickets(t *testing.T) {
	var tickets Tickets
	now := time.Unix(0, 0)
	first := tickets.Keys("", now)
	if again := tickets.Keys("", now.Add(ticketKeyAge-1)); len(first) != 1 || !slices.Equal(first, again) {
		t.Errorf("within a day there are %d keys, then %d, or others", len(first), len(again))
	}
	if other := tickets.Keys("another authority", now); slices.Contains(other, first[0]) {
		t.Error("two authorities share a key: a certificate of one would be believed where the other is asked for")
	}
	next := tickets.Keys("", now.Add(ticketKeyAge))
	if len(next) != 2 || next[1] != first[0] || next[0] == first[0] {
		t.Errorf("after a day there are %d keys; want a new one, and that of yesterday behind it", len(next))
	}
	for day := range 20 {
		next = tickets.Keys("", now.Add(time.Duration(day+2)*ticketKeyAge))
	}
	if len(next) != ticketKeysMax || slices.Contains(next, first[0]) {
		t.Errorf("after three weeks there are %d keys, want the last %d", len(next), ticketKeysMax)
	}
}
