// Package conformance tests a node against the normative statements of MQTT 5 and MQTT 3.1.1, one by one and over TCP.
//
//	go test ./broker/conformance                              // all of them
//	go test ./broker/conformance -run TestV5_3_3_1            // a section
//	go test ./broker/conformance -run TestTable -update       // write docs/conformance.md anew
//
// The package has nothing but tests. Statement MQTT-3.1.0-1 of MQTT 5 is tested by TestV5_3_1_0_1, that of MQTT 3.1.1 by
// TestV311_3_1_0_1. The folder testdata holds what else there is to say, a line each, fields separated by a space:
//
//   - v5.txt, v311.txt: number, whom it binds (server, client or both), what it asks for in our words;
//   - v5-reasons.txt, v311-reasons.txt: number, why there is no test.
//
// Invariants:
//
//   - A test sees of the node what a client sees, and says to it what a client may say or must not say; of the node's own
//     interface it uses only lists and counters, to know when something has happened.
//   - That nothing is sent is proved by answers to PINGREQ, which cannot come before what was sent earlier; never by waiting.
//   - Each statement that binds a server has a test or a reason, never both; TestTable sees to that.
//
// # Why
//
// The tests of package broker say how the node is meant to work; these say what the specifications ask for, with nothing
// of the node in view, so that a node with other insides can be held against the same list. One function for each number costs
// some repetition and buys a table in which a gap cannot hide. A statement for clients alone has a test where the node has to
// do something about a client that breaks it.
package conformance
