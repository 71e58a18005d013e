// Package store keeps what a node must not forget in a file: sessions, their subscriptions and queues, and retained messages. It
// survives the end of the process at any moment, and a power cut.
//
//	s, state, err := store.Open(dir, time.Now(), log) // what was there
//	go s.Run(ctx)                                     // writes, until ctx is done
//	s.PutSession(store.Session{Number: 1, ClientID: "device"})
//	s.Enqueue(1, 1, s.NewBody(), delivery.Copy{Message: m, QoS: 1})
//	s.After(func() { acknowledge(m) })                // when that is on disk
//
// Memory stays the node's truth: the operations say what has changed in it, and nothing is read from the file but by Open. They
// return at once; Run writes everything that has come since it wrote last in one transaction.
//
// What has to wait for After, so that nothing acknowledged is lost and nothing of QoS 2 comes twice after a crash:
//
//   - PUBACK and PUBREC to a publisher: for Enqueue, Retain and Receive, or the message is lost (section 4.3).
//   - PUBCOMP to a publisher: for Release. It may use the identifier again from then on, and a message that comes with
//     one that is still known is taken for a repetition [MQTT-4.3.3-10].
//   - PUBLISH of QoS 2 to a subscriber: for Sent. With another identifier it would be another message.
//   - PUBREL to a subscriber: for Released. After it, the PUBLISH must not be sent again [MQTT-4.3.3-6].
//   - SUBACK and UNSUBACK: for Subscribe and Unsubscribe; CONNACK: for the session that it speaks of, also for one that it says is not
//     there [MQTT-3.1.2-4].
//
// Invariants:
//
//   - What was asked for is on disk in the order in which it was asked for, or is not there yet: the file is always what the
//     node was at some moment, and holds all that was confirmed by After.
//   - What is over before it is written is never written. A batch of which nothing remains costs no access to the disk.
//   - Nobody who asks for something waits for the disk. What they ask for is bounded by themselves, who look at Pending.
//   - Nothing is confirmed while the disk fails. Run says when it gives up.
//   - A body is in the file once, for as long as a queue has it. Who is deleted leaves nothing behind.
//   - The file has one process at a time. Damage in it is an error of Open or of Run, or is told in State.
//
// The file is as large as all that was in it at its fullest, and some more, since pages are not quite full and those of one
// transaction are written beside those of the last. Pages that become empty are used again, and are not given back. To have a smaller one, stop the node and use "bbolt compact".
// What bounds its contents is what bounds the node's memory: queues, sessions and retained messages are all there as well.
//
// # Why
//
// bbolt is one file, of a format that has been stable for ten years, with transactions that are whole or not there after a crash, and
// without goroutines of its own; what it does not do, many small transactions, is what Run does not ask for. The file store of JetStream
// was the alternative: a log for each stream, that syncs in intervals, by default, and not before it acknowledges. One transaction
// has two fdatasync. On a 2-core x86 virtual machine, where one takes 130 µs, a message by itself is confirmed after 0.3 to 0.8 ms and
// costs 130 to 170 µs of CPU. With 256 on their way there are 50,000 to 140,000 a second to clients that acknowledge and 28,000 to
// 70,000 to ten thousand who are away, at 6 to 9 and 9 to 13 µs of CPU each: the machine had other work as well. From one to a thousand
// who are away go 56,000 to 80,000 copies a second. Opening takes 1.5 to 2 µs for each message. What nobody waits for may wait 50 ms for what somebody does: an acknowledgement then costs no transaction.
//
// Queues are in the order of sessions and not of time, so that ending a session and reading a queue look at one place; a
// message for many who are away changes one page for each, which is 4 KiB on disk for 44 bytes, and the same would be paid for when
// they come and fetch it. How many want a body is counted in memory, and when the file is opened: in the file it would be a record
// more to write for each copy. The list of free pages is not written: after a long queue it is longer than all that is. For that, bbolt has to look at
// every page when the file is opened, and ends the process at a damaged one, which is why the file is
// read without it before. Records are our own, with the packet codec for messages, which has been tested most.
package store
