package record

import (
	"bytes"
	"slices"
	"testing"
)

// FuzzOpen gives Open whatever comes over the wire: nothing is opened, nothing crashes, and after an error nothing follows.
func FuzzOpen(f *testing.F) {
	for i, flavor := range flavors {
		cl, _ := connect(f, flavor, source(2)) // other keys
		f.Add(uint8(i), cl.data("hello"))
		f.Add(uint8(i), slices.Concat(cl.data(""), cl.says(asks), cl.AppendAlert(cl.c, nil, CloseNotify)))
		f.Add(uint8(i), []byte{23, 3, 3, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
		f.Add(uint8(i), []byte{21, 3, 3, 0, 2, 1, 0})
	}
	f.Fuzz(func(t *testing.T, kind uint8, stream []byte) {
		_, sv := connect(t, flavors[int(kind)%len(flavors)], source(1))
		before := bytes.Clone(stream)
		o, err := sv.Open(sv.c, stream)
		if o.Used != 0 || o.Data != nil || o.Close {
			t.Fatalf("opened: %v", o)
		}
		if err == nil && (!bytes.Equal(before, stream) || len(stream) >= HeaderSize+MaxCiphertext) {
			t.Fatal("a record that is waited for was changed, or is longer than any")
		}
		if a, is := err.(*Alert); err != nil && (!is || a.Remote || len(sv.AppendAlert(sv.c, nil, a.Code)) == 0) {
			t.Fatalf("refused with %v", err)
		}
		if o, again := sv.Open(sv.c, before); (again == nil) != (err == nil) || o.Used != 0 {
			t.Fatalf("first %v, then %v", err, again)
		}
	})
}

// FuzzCut cuts a stream of good records where it likes: what is opened is what was sent.
func FuzzCut(f *testing.F) {
	for i := range flavors {
		f.Add(uint8(i), []byte{1, 2, 3, 4, 5, 6, 7, 8})
		f.Add(uint8(i), []byte{200, 0, 1, 255, 16, 5})
		f.Add(uint8(i), bytes.Repeat([]byte{1}, 300))
	}
	f.Fuzz(func(t *testing.T, kind uint8, cuts []byte) {
		flavor := flavors[int(kind)%len(flavors)]
		cl, sv := connect(t, flavor, source(1))
		var want, stream []byte
		for i, c := range cuts[:min(len(cuts), 20)] {
			data := bytes.Repeat([]byte{byte(i)}, 1+int(c)*int(c)/4)
			if c == 0 && i%2 == 0 {
				data = nil
			}
			want = append(want, data...)
			stream = append(stream, cl.data(string(data))...)
			if flavor.is13() && c%3 == 0 {
				stream = append(stream, cl.says(asks)...)
			}
		}
		stream = cl.AppendAlert(cl.c, stream, CloseNotify)
		var got, buf []byte
		var o Opened
		for i := 0; len(stream) > 0; i++ {
			n := len(stream)
			if i < len(cuts) {
				n = min(n, int(cuts[i]))
			}
			buf, stream = append(buf, stream[:n]...), stream[n:]
			for {
				var err error
				if o, err = sv.Open(sv.c, buf); err != nil {
					t.Fatal(err)
				}
				if got = append(got, o.Data...); o.Used == 0 || o.Close {
					break
				}
				buf = buf[o.Used:]
			}
		}
		if !o.Close || !bytes.Equal(got, want) {
			t.Fatalf("closed %v, %d bytes, want %d", o.Close, len(got), len(want))
		}
	})
}

// FuzzPeer is a peer that has the keys and says what it likes: three bytes choose a record's type and length, its content follows.
func FuzzPeer(f *testing.F) {
	record := func(typ contentType, content string) string {
		return string([]byte{byte(typ), byte(len(content) >> 8), byte(len(content))}) + content
	}
	for i := range flavors {
		for _, client := range []bool{true, false} {
			f.Add(uint8(i), client, []byte(record(typeData, "x")+record(typeHandshake, asks)+record(typeData, "")+record(typeAlert, "\x01\x00")))
			f.Add(uint8(i), client, []byte(record(typeHandshake, ticket[:3])+record(typeHandshake, ticket[3:]+tells)+record(0, "data\x17\x00")))
			f.Add(uint8(i), client, []byte(record(typeHandshake, "\x01\x00\x00\x00")+record(typeChangeCipherSpec, "\x01")))
			f.Add(uint8(i), client, []byte(record(typeAlert, "\x02\x28")))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, toClient bool, script []byte) {
		from, to := connect(t, flavors[int(kind)%len(flavors)], source(1))
		if toClient {
			from, to = to, from
		}
		idle := 0
		for len(script) >= 3 {
			typ, n := contentType(script[0]), min(len(script)-3, int(script[1])<<8|int(script[2]), MaxPlaintext)
			content := script[3 : 3+n]
			script = script[3+n:]
			updates := to.in.secret
			o, err := to.Open(to.c, from.raw(typ, content...))
			if err != nil || o.Close {
				if o, err := to.Open(to.c, from.data("x")); o.Data != nil || err == nil && !o.Close {
					t.Fatal("it goes on after the end")
				}
				return
			}
			if to.in.secret != updates {
				from.out.update(from.c, from.suite)
			}
			if idle++; len(o.Data) > 0 {
				idle = 0
			}
			if o.Used == 0 || idle > maxIdle || to.left > maxTicket || to.have > messageHeader {
				t.Fatalf("%v, %d idle, %d left", o, idle, to.left)
			}
			if owed := to.AppendOwed(to.c, nil); len(owed) > ownRecord || to.Owes() {
				t.Fatalf("%d bytes are owed, and more", len(owed))
			}
		}
	})
}

// FuzzKeyLog reads lines that are none.
func FuzzKeyLog(f *testing.F) {
	f.Add([]byte("CLIENT_RANDOM "+randomA+" "+secret48+"\n"), []byte("SERVER_TRAFFIC_SECRET_0 "+randomA+" "+secret32))
	f.Add([]byte("CLIENT_TRAFFIC_SECRET_0 "), []byte(""))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var log KeyLog
		for _, line := range [][]byte{one, two} {
			if n, err := log.Write(line); err == nil && n != len(line) {
				t.Fatalf("%d of %d bytes, and no error", n, len(line))
			}
		}
		for _, fl := range flavors {
			if _, err := log.State(Handshake{Version: fl.version, Suite: fl.suite}); err == nil && log.master.size == 0 && log.client.size == 0 {
				t.Fatal("a State without secrets")
			}
		}
	})
}
