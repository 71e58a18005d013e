package wire

import "time"

// Options are those of all connections of Loops.
type Options struct {
	MaxPacket    int           // bytes that a packet of a client may have, its header included [MQTT-3.1.2-24]; 0 = what the protocol has
	WriteTimeout time.Duration // how long a client may take nothing of what is sent to it; 0 = 20 s
	Goodbye      time.Duration // how long one that is told to go may take to hear it; 0 = 2 s
}

func (o *Options) defaults() {
	if o.MaxPacket == 0 {
		o.MaxPacket = 1<<28 + 4 // MQTT 5 section 1.5.5
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 20 * time.Second
	}
	if o.Goodbye == 0 {
		o.Goodbye = 2 * time.Second
	}
}

// Start is how a connection begins.
type Start struct {
	Peer      Peer          // and a Prefacer with Preface
	Timeout   time.Duration // until the Peer has called SetIdle
	Preface   bool          // the client may say something before MQTT
	WebSocket bool          // MQTT is in the frames of a WebSocket, whose handshake is done
	Rest      []byte        // read of the connection already, before everything else
}
