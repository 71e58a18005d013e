// Package websocket carries MQTT over WebSocket (RFC 6455; MQTT 5 section 6) for a server in which an idle connection has no goroutine.
//
//	rest, err := websocket.Upgrade(conn, websocket.Options{Path: "/mqtt"}, time.Now().Add(5*time.Second))
//	var d websocket.Decoder                         // in the connection's state; then for rest, and for whatever a read returns:
//	payload, reply, err := d.Decode(read, room[:0]) // use payload, then write reply, then look at err
//	out = websocket.AppendHeader(out, len(packet))  // then the packet, or several: one binary frame
//	out = websocket.AppendClose(out, websocket.StatusGoingAway)
//
// To MQTT the payload is a stream: one frame may hold several packets, or a part of one [MQTT-6.0.0-2]. Decode undoes the client's
// masking where the bytes lie and moves the payload together at their front, so that a decoder holds no buffer and an idle connection
// costs the 40 bytes of its state.
//
// Invariants:
//
//   - How the network cuts the bytes changes nothing but when they are returned.
//   - A call of Decode returns no more payload than it was given bytes, and appends no more than one pong and one close frame to
//     reply, 131 bytes, whatever the client sends.
//   - What a frame's header announces is never allocated. A Decoder refers to memory only while a ping or a close frame has come in part: 125 bytes.
//   - Upgrade takes no more than 8 KiB from the connection, all of it before its deadline, and returns every byte that follows the request.
//   - No error repeats what may be a secret: of the request at most its path, its method and the version it asks for, cut short and in quotes.
//
// What is not there: extensions, of which none is negotiated, permessage-deflate (RFC 7692) included: its windows would cost more memory
// than all else that a connection has. A limit for the length of messages: MQTT's own limit of packets holds, and a stream needs no
// second one. A check of the Origin header, which would defend what a browser adds to the request of a foreign page on its own, cookies
// and HTTP credentials: MQTT's are in CONNECT, and such a page does not know them. It is otherwise where the client's address or
// its TLS certificate is all that is asked for: a page that somebody opens in his browser may then connect as he. Such a listener is
// not for browsers, or has a proxy before it that checks the Origin.
//
// # Why
//
// Libraries for WebSocket read from a connection that blocks, or own the descriptor. What an event loop has is a few bytes at a
// time, so the decoder is pushed, and the state between two pushes is all that a connection keeps. Undoing the mask and moving the
// bytes is one pass, eight bytes at a time: 12 ns for 130 bytes, where the assembly of github.com/gobwas/ws and a copy take 21, and 3.8 µs
// against 4.7 for 64 KiB. A frame of 130 bytes takes 50 ns in all, and nothing of the heap (BenchmarkDecode, 2-core x86 virtual machine).
//
// The request is read to its blank line and parsed by net/http: 5.5 µs, a small part of a TLS handshake. The Upgrader of gobwas/ws, which takes
// 1.3, was put aside: it reads ahead into a pooled buffer from which what follows the request is lost, takes "Connection" in two
// headers for an error, and 24 characters of any kind for a key, lets a second Host pass, a blank before a header's colon, and a
// body, whose bytes would be taken for frames, and answers 405 and 426 without the headers that RFC 9110 demands. In tests it is the
// client, as is github.com/coder/websocket.
package websocket
