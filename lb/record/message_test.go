package record

import (
	"bytes"
	"strings"
	"testing"
)

const (
	asks   = "\x18\x00\x00\x01\x01" // a KeyUpdate that wants an answer
	tells  = "\x18\x00\x00\x01\x00" // one that does not
	ticket = "\x04\x00\x00\x05hello"
)

// says returns a handshake record, and goes on with the next key behind a KeyUpdate.
func (e *end) says(message string) []byte {
	r := e.raw(typeHandshake, []byte(message)...)
	if strings.HasSuffix(message, tells) || strings.HasSuffix(message, asks) {
		e.out.update(e.c, e.suite)
	}
	return r
}

// only13 runs a test for every flavor of TLS 1.3.
func only13(t *testing.T, test func(t *testing.T, f flavor)) {
	for _, f := range flavors {
		if f.is13() {
			t.Run(f.String(), func(t *testing.T) { test(t, f) })
		}
	}
}

func TestKeyUpdate(t *testing.T) {
	only13(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		for range 3 {
			sv.wants(t, "ab", cl.data("a"), cl.says(tells), cl.data("b"))
			if sv.Owes() {
				t.Fatal("an answer that nobody asked for is owed")
			}
			sv.wants(t, "cd", cl.data("c"), cl.says(asks), cl.data("d"))
			if !sv.Owes() {
				t.Fatal("the answer is not owed")
			}
			cl.wants(t, "before", sv.data("before"))
			owed := sv.AppendOwed(sv.c, []byte("front"))
			if sv.Owes() || len(sv.AppendOwed(sv.c, nil)) > 0 || !bytes.HasPrefix(owed, []byte("front")) || len(owed) > 5+ownRecord {
				t.Fatalf("the answer is %x, and owed again: %v", owed, sv.Owes())
			}
			cl.wants(t, "after", owed[5:], sv.data("after"))
			if cl.Owes() {
				t.Fatal("an answer to the answer is owed")
			}
		}
	})
}

// The old key opens nothing any more.
func TestOldKeyIsGone(t *testing.T) {
	only13(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		old, secret := *cl, cl.out.secret
		sv.wants(t, "x", cl.data("x"))
		old.out.seq++
		sv.wants(t, "", cl.says(tells))
		for _, e := range append(cl.c.entries, sv.c.entries...) {
			if e.secret == secret || sv.in.secret == secret || cl.out.secret == secret {
				t.Error("the old secret is still there")
			}
		}
		old.out.seq = 0
		_, _, err := sv.open(old.data("x"))
		refused(t, err, BadRecordMAC)
	})
}

// A storm of KeyUpdates is answered once; without data in between it ends the connection.
func TestKeyUpdateStorm(t *testing.T) {
	only13(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		for range 100 {
			for range maxIdle {
				sv.wants(t, "", cl.says(asks))
			}
			sv.wants(t, "x", cl.data("x"))
		}
		cl.wants(t, "y", sv.AppendOwed(sv.c, nil), sv.data("y"))
		if sv.Owes() {
			t.Error("more than one answer is owed")
		}
		for range maxIdle {
			sv.wants(t, "", cl.says(asks))
		}
		_, _, err := sv.open(cl.says(asks))
		refused(t, err, UnexpectedMessage)
	})
}

// So do other records without data.
func TestIdleRecords(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		for what, record := range map[string]func(*end) []byte{
			"empty":   func(e *end) []byte { return e.data("") },
			"warning": func(e *end) []byte { return e.raw(typeAlert, levelWarning, byte(userCanceled)) },
		} {
			cl, sv := connect(t, f, source(1))
			for range 3 {
				for range maxIdle {
					sv.wants(t, "", record(cl))
				}
				sv.wants(t, "data", cl.data("data"))
			}
			for range maxIdle {
				sv.wants(t, "", record(cl))
			}
			if _, _, err := sv.open(record(cl)); err == nil {
				t.Errorf("%s: not ended", what)
			} else {
				refused(t, err, UnexpectedMessage)
			}
		}
	})
}

// Our own keys are changed in time.
func TestRekey(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		cl.out.seq, sv.in.seq = rekeyAt-1, rekeyAt-1
		if cl.Owes() {
			t.Error("a KeyUpdate is owed too early")
		}
		sv.wants(t, "x", cl.data("x"))
		if cl.Owes() != f.is13() {
			t.Errorf("a KeyUpdate is owed: %v", cl.Owes())
		}
		sv.wants(t, "y", cl.AppendOwed(cl.c, nil), cl.data("y"))
		if sv.Owes() || f.is13() && cl.out.seq != 1 {
			t.Errorf("record %d is next, an answer is owed: %v", cl.out.seq, sv.Owes())
		}
		if f.is13() && cl.suite != chacha20 {
			cl.out.seq = gcmLimit - 1
			cl.data("last")
			panics(t, "key used up", func() { cl.data("x") })
		}
	})
}

func TestTickets(t *testing.T) {
	only13(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		cl.wants(t, "data", sv.says(ticket+ticket), sv.data("data"))
		for i := range ticket {
			cl.wants(t, "", sv.says(ticket[i:i+1]))
		}
		cl.wants(t, "data", sv.data("data"), sv.says(ticket+asks))
		if !cl.Owes() {
			t.Error("the KeyUpdate behind a ticket is lost")
		}
		large := "\x04\x01\x00\x00" + strings.Repeat("t", maxTicket)
		for len(large) > 0 {
			n := min(len(large), MaxPlaintext)
			cl.wants(t, "", sv.says(large[:n]))
			large = large[n:]
		}
		cl.wants(t, "data", sv.data("data"))
	})
}

func TestKeyUpdateInParts(t *testing.T) {
	only13(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		for i := range asks {
			sv.wants(t, "", cl.raw(typeHandshake, asks[i]))
		}
		cl.out.update(cl.c, cl.suite)
		sv.wants(t, "data", cl.data("data"))
		if !sv.Owes() {
			t.Error("no answer is owed")
		}
	})
}

func TestBadMessages(t *testing.T) {
	only13(t, func(t *testing.T, f flavor) {
		for what, c := range map[string]struct {
			message  string
			toClient bool
			want     AlertCode
		}{
			"request 2":            {"\x18\x00\x00\x01\x02", false, IllegalParameter},
			"KeyUpdate of nothing": {"\x18\x00\x00\x00", false, DecodeError},
			"long KeyUpdate":       {"\x18\x00\x00\x02\x00\x00", false, DecodeError},
			"two KeyUpdates":       {tells + tells, false, UnexpectedMessage},
			"ticket behind one":    {tells + ticket, true, UnexpectedMessage},
			"nothing":              {"", false, UnexpectedMessage},
			"ClientHello":          {"\x01\x00\x00\x05hello", false, UnexpectedMessage},
			"ticket to a server":   {ticket, false, UnexpectedMessage},
			"empty ticket":         {"\x04\x00\x00\x00", true, DecodeError},
			"large ticket":         {"\x04\x01\x00\x01", true, DecodeError},
			"CertificateRequest":   {"\x0d\x00\x00\x03\x00\x00\x00", true, UnexpectedMessage},
			"Finished":             {"\x14\x00\x00\x20", true, UnexpectedMessage},
		} {
			cl, sv := connect(t, f, source(1))
			from, to := cl, sv
			if c.toClient {
				from, to = sv, cl
			}
			_, _, err := to.open(from.raw(typeHandshake, []byte(c.message)...))
			if t.Run(what, func(t *testing.T) { refused(t, err, c.want) }); to.Owes() {
				t.Errorf("%s: an answer is owed", what)
			}
		}
	})
}

// Nothing may stand between two parts of a message (RFC 8446, section 5.1).
func TestInterleaved(t *testing.T) {
	only13(t, func(t *testing.T, f flavor) {
		for n := 1; n < len(asks); n++ {
			for _, record := range []func(*end) []byte{
				func(e *end) []byte { return e.data("x") },
				func(e *end) []byte { return e.data("") },
				func(e *end) []byte { return e.raw(typeAlert, levelWarning, byte(CloseNotify)) },
			} {
				cl, sv := connect(t, f, source(1))
				_, closed, err := sv.open(cl.raw(typeHandshake, []byte(asks[:n])...), record(cl))
				if refused(t, err, UnexpectedMessage); closed {
					t.Error("closed")
				}
			}
		}
	})
}

func TestInnerTypes(t *testing.T) {
	only13(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		// A record of type 0 is one of padding alone to the receiver, or of a type in its content.
		padded := append([]byte("padded\x17"), make([]byte, 1000)...)
		sv.wants(t, "padded", cl.raw(0, padded...))
		for what, record := range map[string]func(*end) []byte{
			"only padding":       func(e *end) []byte { return e.raw(0, make([]byte, 300)...) },
			"nothing":            func(e *end) []byte { return e.raw(0) },
			"change_cipher_spec": func(e *end) []byte { return e.raw(typeChangeCipherSpec, 1) },
			"unknown":            func(e *end) []byte { return e.raw(99, 1) },
		} {
			cl, sv := connect(t, f, source(1))
			_, _, err := sv.open(record(cl))
			if refused(t, err, UnexpectedMessage); err == nil {
				t.Error(what)
			}
		}
	})
}

func TestRenegotiation(t *testing.T) {
	for _, f := range flavors[3:] {
		for what, c := range map[string]struct {
			message  string
			toClient bool
			want     AlertCode
		}{
			"ClientHello":              {"\x01\x00\x00\x05hello", false, NoRenegotiation},
			"HelloRequest":             {"\x00\x00\x00\x00", true, NoRenegotiation},
			"HelloRequest to a server": {"\x00\x00\x00\x00", false, UnexpectedMessage},
			"KeyUpdate":                {asks, false, UnexpectedMessage},
			"nothing":                  {"", true, UnexpectedMessage},
		} {
			t.Run(f.String()+" "+what, func(t *testing.T) {
				cl, sv := connect(t, f, source(1))
				from, to := cl, sv
				if c.toClient {
					from, to = sv, cl
				}
				_, _, err := to.open(from.raw(typeHandshake, []byte(c.message)...))
				refused(t, err, c.want)
			})
		}
	}
}

func TestChangeCipherSpecIn12(t *testing.T) {
	for _, f := range flavors[3:] {
		cl, sv := connect(t, f, source(1))
		_, _, err := sv.open(cl.raw(typeChangeCipherSpec, 1))
		refused(t, err, UnexpectedMessage)
	}
}
