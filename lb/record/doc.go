// Package record protects the records of TLS connections whose handshake crypto/tls has done: TLS 1.3 (RFC 8446) and the AEAD
// cipher suites of TLS 1.2 (RFC 5246, 5288, 7905), with AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305.
//
//	var keys record.KeyLog                          // cfg.KeyLogWriter = &keys, of this connection's own tls.Config
//	state, err := keys.State(record.Handshake{…})   // after the handshake; a plain value
//	opened, err := state.Open(ciphers, received)    // in place; opened.Data, opened.Used
//	out = state.AppendOwed(ciphers, out)            // when state.Owes()
//	sealed := state.Seal(ciphers, buf, n)           // in place; the data stands behind state.Prefix() bytes
//
// NewConn makes a blocking net.Conn of a State. SelfTest is to be called once before anything.
//
// In the order in which they are best read: state.go (what a connection is), keys.go and suite.go (where its keys come from),
// open.go and message.go (what is received), seal.go (what is sent), cache.go, conn.go.
//
// # Invariants
//
//  1. Nothing of a record is acted upon before it is authenticated, but its header, for refusing it.
//  2. Open returns data at most once, in the order it was sent, and none after an error.
//  3. No nonce is used twice with a key: a sequence number goes up by one with each record, and never wraps.
//  4. What a connection holds does not depend on what its peer sends: a State, and of Conn two buffers of a record each.
//  5. A State has no pointers, and no State gets the cipher of another's key, whatever Cache it is used with.
//  6. Keys are in no error, no log and no buffer. Wipe overwrites them.
//  7. At most one record of ours is owed at any time.
//
// # Threats
//
// Who is on the wire can read, change, repeat, drop, reorder and cut. Changing, repeating, dropping and reordering are one thing to the
// receiver: the tag, over content, sequence number and header, does not fit; the first such record ends the connection, so that
// nobody has a second guess (RFC 8446, section 5.2). Cutting is noticed by the lack of close_notify, which Conn tells as
// io.ErrUnexpectedEOF (section 6.1); a State knows only what it is given, so its user has to. Lengths and times
// of records are visible, as with most TLS: no padding is added (section 5.4).
//
// A header is unauthenticated: with it, one can have us wait for 16 KiB at most, or end the connection, which is also had by cutting
// the wire.
//
// A hostile client, who has the keys, can send what it likes. A record longer than allowed is refused by its header. Empty
// records, KeyUpdates, warnings and tickets end the connection when more than 16 come in a row; between data, a
// KeyUpdate costs about 5 µs, less than a handshake by far. KeyUpdates that ask for an answer are answered by one, when there is
// room to write it, so that nothing piles up. Messages in parts are counted and skipped, not stored. Padding costs a scan of
// 16 KiB at most; the time it takes tells the peer's own padding (appendix E.3). Renegotiation of TLS 1.2, which lets a client have
// many handshakes for one, is refused. Nothing that a peer sends leads to a panic: those are for errors of our own code.
//
// With its own connection a client cannot reach another's: ciphers are found by the whole key, never by a number alone.
//
// Who reads our memory has the keys of the connections that live, and of those that ended before the collector has overwritten what was
// theirs: crypto/tls formats the key log's lines and keeps the secrets of its tls.Conn, and a cipher object cannot be
// overwritten. KeyUpdate of TLS 1.3 makes earlier keys unreachable (section 7.2).
// The buffers that the connections of a loop share hold what one of them has sent until another's record overwrites it, and the keys of
// session tickets, of up to eight days, lie in memory as well: who reads it can resume those sessions.
// A session ticket of TLS 1.2 has the master secret in it, with KeyLog.Save twice: who has the tickets' keys has had the
// connections' as well.
//
// One key of AES-GCM protects fewer than 2^24.5 records in TLS 1.3 (section 5.5). TLS 1.2 has no such rule and no way to
// change a key; there the advantage of an attacker who counts on many full records grows beyond 2^-60 behind that number. No limit
// stands for what we receive: the peer keeps its own.
//
// # Why
//
// A tls.Conn of an idle connection holds several kilobytes, a goroutine that waits in its Read, and pointers that the collector follows:
// 7 KB a connection when driven by an event loop, and with a million of them a second of CPU for each collection. A State
// has 224 bytes, and lies where the collector does not look; cipher objects, four times as large, exist for connections that
// are active. Opening and sealing in place on buffers that all connections of a loop share makes no copy and no garbage.
//
// The handshake stays with crypto/tls, where nearly all of the complexity and of the history of mistakes is. What is here is as much as one person can
// review: no record but data, alert, KeyUpdate and a ticket to skip. Its keys come through the key log, which is public API, and not by
// reaching into crypto/tls, which another Go release may change.
//
// A State refers to its ciphers by a hint that is verified against the key. A generation counter would be cheaper by 2 ns, and wrong
// the day a State is used with another loop's Cache.
package record
