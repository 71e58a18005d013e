package packet_test

import (
	"bytes"
	"fmt"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// A client, or a health check: CONNECT out, CONNACK in.
func ExampleConnect() {
	hello := packet.Connect{Version: packet.V311, CleanStart: true, KeepAlive: 30, ClientID: []byte("check-1")}
	fmt.Printf("% x\n", hello.Append(nil))

	answer := bytes.NewReader([]byte{0x20, 2, 0, 5})
	h, body, err := packet.NewReader(answer, 1024).Next()
	if err != nil {
		fmt.Println(err)
		return
	}
	var ack packet.Connack
	fmt.Println(ack.Decode(hello.Version, h, body), ack.Code)
	// Output:
	// 10 13 00 04 4d 51 54 54 04 02 00 1e 00 07 63 68 65 63 6b 2d 31
	// <nil> not authorized
}

// A proxy that sees a CONNACK pass: the server's keep alive overrides the client's.
func ExampleConnack() {
	passing := []byte{0x20, 6, 0, 0, 3, 0x13, 0, 45, 0x30, 0x03} // a PUBLISH begins behind it
	h, n, err := packet.ParseHeader(passing)
	if err != nil || n == 0 || len(passing) < n+h.Remaining {
		return
	}
	var ack packet.Connack
	if err := ack.Decode(packet.V5, h, passing[n:n+h.Remaining]); err != nil {
		return
	}
	keepAlive := uint32(60) // from the CONNECT
	if seconds, present := ack.Properties.Int(packet.ServerKeepAlive); present {
		keepAlive = seconds
	}
	fmt.Println(keepAlive)
	// Output: 45
}

// A broker delivers one message to many: it is encoded once, each receiver gets its own identifier.
func ExamplePublish_Encode() {
	m := packet.Publish{QoS: 1, Topic: []byte("t"), Payload: []byte("hi")}
	encoded := m.Encode(nil, packet.V5)
	for id := range uint16(2) {
		fmt.Printf("% x\n", encoded.Append(nil, 7+id, false))
	}
	// Output:
	// 32 08 00 01 74 00 07 00 68 69
	// 32 08 00 01 74 00 08 00 68 69
}

// A broker passes a message on: what belongs to it, in the sender's order, with what is new for
// this receiver.
func ExampleProperties_AddForwarded() {
	var received packet.Properties
	received.AddInt(packet.MessageExpiry, 60)
	received.AddInt(packet.TopicAlias, 4)
	received.AddUser([]byte("from"), []byte("device"))

	var sent packet.Properties
	sent.AddInt(packet.MessageExpiry, 58)
	sent.AddSubscriptionID(9)
	sent.AddForwarded(received)

	seconds, _ := sent.Int(packet.MessageExpiry)
	_, alias := sent.Int(packet.TopicAlias)
	fmt.Println(seconds, alias)
	for id := range sent.SubscriptionIDs() {
		fmt.Println(id)
	}
	for name, value := range sent.User() {
		fmt.Printf("%s=%s\n", name, value)
	}
	// Output:
	// 58 false
	// 9
	// from=device
}
