package packet_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// An oracle is another implementation of the format, to be agreed with. Its packets are compared
// as text, which describes fields of ours in its own words.
type oracle struct {
	versions []packet.Version
	read     func(v packet.Version, raw []byte) (any, error) // decodes
	theirs   func(p codec, h packet.Header) any              // turns one of our packets into one of its own
	write    func(p codec, h packet.Header) []byte           // encodes one of our packets
	lossy    func(p codec) codec                             // what is left of p when it has been written
	lenient  []string                                        // rules that it does not check
	// strict is what it refuses though the specification does not, by a reason.
	strict map[string]func(p codec, length int) bool
}

// differential runs the three comparisons.
func (o oracle) differential(t *testing.T) {
	for _, v := range o.versions {
		t.Run(fmt.Sprintf("%v/we write", v), func(t *testing.T) { o.weWrite(t, v) })
		t.Run(fmt.Sprintf("%v/they write", v), func(t *testing.T) { o.theyWrite(t, v) })
	}
	t.Run("mutated", o.mutated)
}

const perType = 300 // random packets of each type and version

// each calls f with random packets of every type that can be described in the oracle's words.
func (o oracle) each(v packet.Version, seed uint64, f func(p codec, raw []byte, h packet.Header)) {
	for _, typ := range types(v) {
		g := newGenerator(seed+uint64(typ), v)
		g.oracle = true
		for range perType {
			p := g.packet(typ)
			raw := p.Append(nil, v)
			h, _, err := packet.ParseHeader(raw)
			if err != nil {
				panic(err)
			}
			f(p, raw, h)
		}
	}
}

// refuses returns the reason why the oracle refuses what we accept; "" when there is none.
func (o oracle) refuses(p codec, length int) string {
	for reason, holds := range o.strict {
		if holds(p, length) {
			return reason
		}
	}
	return ""
}

func (o oracle) weWrite(t *testing.T, v packet.Version) {
	o.each(v, 100, func(p codec, raw []byte, h packet.Header) {
		theirs, err := o.read(v, raw)
		if err != nil && o.refuses(p, h.Remaining) != "" {
			return
		}
		if err != nil {
			t.Fatalf("we wrote %.800s\nthey: %v", describe(p), err)
		}
		if wrote, read := words(o.theirs(p, h)), words(theirs); wrote != read {
			t.Fatalf("we wrote  %.800s\nthey read %.800s", wrote, read)
		}
	})
}

func (o oracle) theyWrite(t *testing.T, v packet.Version) {
	o.each(v, 200, func(p codec, _ []byte, h packet.Header) {
		p = o.lossy(p)
		raw := o.write(p, h)
		ours, need, err := decode(v, raw)
		if err != nil || need {
			t.Fatalf("they wrote %.800s\nas % .200x\nwe: not whole %v, %v", describe(p), raw, need, err)
		}
		if got, want := describe(ours), describe(p); got != want {
			t.Fatalf("they wrote %.800s\nwe read    %.800s", want, got)
		}
	})
}

// mutated asks both about packets that break a rule, and about random ones that were changed. Where
// both accept, they must mean the same; where one refuses, the reason must be one that is listed,
// and every listed one must occur.
func (o oracle) mutated(t *testing.T) {
	seen := map[string]int{}
	for _, part := range faults {
		for _, f := range part {
			if body := wire(t, f.body); slices.Contains(o.versions, f.v) {
				o.ask(t, f.v, append([]byte{f.first, byte(len(body))}, body...), seen)
			}
		}
	}
	for _, v := range o.versions {
		r := rand.New(rand.NewPCG(9, uint64(v)))
		o.each(v, 300, func(_ codec, raw []byte, _ packet.Header) {
			for range 8 {
				o.ask(t, v, mutate(r, raw), seen)
			}
		})
	}
	for _, listed := range o.lenient {
		if seen[listed] == 0 {
			t.Errorf("never seen, so not a known difference: %q", listed)
		}
	}
	for listed := range o.strict {
		if seen["they refuse: "+listed] == 0 {
			t.Errorf("never seen, so not a known difference: %q", listed)
		}
	}
	t.Logf("what happened: %v", seen)
}

// ask gives both the same bytes and counts what happened.
func (o oracle) ask(t *testing.T, v packet.Version, raw []byte, seen map[string]int) {
	ours, need, err := decode(v, raw)
	if need { // not one packet: nothing to compare
		return
	}
	theirs, theirErr := o.read(v, raw)
	reason, known := o.verdict(ours, raw, err, theirErr)
	if seen[reason]++; !known && seen[reason] == 1 {
		t.Errorf("not listed: %q\n% .60x as %v\nwe:   error %v\nthey: error %v", reason, raw, v, err, theirErr)
	}
	if err != nil || theirErr != nil {
		return
	}
	h, _, _ := packet.ParseHeader(raw)
	if a, b := words(o.theirs(ours, h)), words(theirs); a != b {
		t.Fatalf("% .200x as %v\nwe read   %.800s\nthey read %.800s", raw, v, a, b)
	}
}

// verdict returns the listed reason for a difference, or that there is none; false when there is a
// difference that is not listed.
func (o oracle) verdict(ours codec, raw []byte, err, theirErr error) (string, bool) {
	switch {
	case err == nil && theirErr == nil:
		return "both accept", true
	case err != nil && theirErr != nil:
		return "both refuse", true
	case err == nil:
		h, _, _ := packet.ParseHeader(raw)
		reason := o.refuses(ours, h.Remaining)
		return "they refuse: " + reason, reason != ""
	}
	var e *packet.Error
	if !errors.As(err, &e) {
		return "", false
	}
	return e.What, slices.Contains(o.lenient, e.What)
}

// mutate returns a changed copy: bytes replaced, cut out or put in, and the header's length mostly
// corrected, so that the body is what is wrong.
func mutate(r *rand.Rand, raw []byte) []byte {
	m := bytes.Clone(raw)
	n := 1
	for m[n] >= 0x80 {
		n++
	}
	body := m[n+1:]
	for range 1 + r.IntN(3) {
		if len(body) == 0 {
			break
		}
		// Most structure is at the front.
		at := r.IntN(min(len(body), 1+r.IntN(len(body))))
		switch r.IntN(7) {
		case 0:
			body = slices.Delete(body, at, at+1)
		case 1:
			body = slices.Insert(body, at, byte(r.Uint32()))
		case 2:
			body = body[:at]
		case 3:
			body[at] ^= 1 << r.IntN(8)
		case 4:
			body[at] = []byte{0, 1, 2, 3, '#', '+', 0x7f, 0x80, 0xff}[r.IntN(9)]
		case 5:
			body[at] = byte(1 + r.IntN(0x2a)) // a property, perhaps
		default:
			body[at] = byte(r.Uint32())
		}
	}
	first := m[0]
	if r.IntN(8) == 0 {
		first ^= 1 << r.IntN(4)
	}
	out := []byte{first}
	for l := len(body); ; l >>= 7 {
		if l < 0x80 {
			out = append(out, byte(l))
			break
		}
		out = append(out, byte(l)|0x80)
	}
	return append(out, body...)
}

// words describes a value of the oracle's by its exported fields. An absent set, string or list is
// the same as an empty one: neither oracle tells them apart.
func words(v any) string {
	var b strings.Builder
	dump(&b, reflect.ValueOf(v))
	return b.String()
}

func dump(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		switch {
		case !v.IsNil():
			dump(b, v.Elem())
		case v.Type().Elem().Kind() == reflect.Struct:
			dump(b, reflect.Zero(v.Type().Elem()))
		default:
			b.WriteString("none")
		}
	case reflect.Struct:
		fmt.Fprintf(b, "%s{", v.Type().Name())
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				fmt.Fprintf(b, "%s:", f.Name)
				dump(b, v.Field(i))
				b.WriteByte(' ')
			}
		}
		b.WriteByte('}')
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(b, "%q", v.Bytes())
			return
		}
		for i := range v.Len() {
			dump(b, v.Index(i))
		}
	default:
		fmt.Fprintf(b, "%#v", v.Interface())
	}
}
