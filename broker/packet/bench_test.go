package packet_test

import (
	"bytes"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// device is a PUBLISH as devices send them: a topic of 24 bytes, 128 bytes of payload.
func device(qos byte) *packet.Publish {
	p := &packet.Publish{
		QoS:     qos,
		Topic:   []byte("site/7/device/000042/env"),
		Payload: bytes.Repeat([]byte{'x'}, 128),
	}
	if qos > 0 {
		p.PacketID = 7
	}
	return p
}

// rich is the same with the properties of a request.
func rich() *packet.Publish {
	p := device(1)
	p.Properties.AddInt(packet.MessageExpiry, 3600)
	p.Properties.AddBytes(packet.ContentType, []byte("application/json"))
	p.Properties.AddBytes(packet.ResponseTopic, []byte("site/7/reply/000042"))
	p.Properties.AddBytes(packet.CorrelationData, []byte("0123456789abcdef"))
	p.Properties.AddUser([]byte("trace"), []byte("4bf92f3577b34da6"))
	return p
}

type benchmark struct {
	name string
	v    packet.Version
	p    *packet.Publish
}

func benchmarks() []benchmark {
	return []benchmark{
		{"3.1.1/QoS0", packet.V311, device(0)},
		{"5/QoS0", packet.V5, device(0)},
		{"5/QoS1", packet.V5, device(1)},
		{"5/properties", packet.V5, rich()},
	}
}

func BenchmarkPublishDecode(b *testing.B) {
	for _, c := range benchmarks() {
		b.Run(c.name, func(b *testing.B) {
			raw := c.p.Append(nil, c.v)
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			var p packet.Publish
			for b.Loop() {
				h, n, err := packet.ParseHeader(raw)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.Decode(c.v, h, raw[n:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPublishAppend(b *testing.B) {
	for _, c := range benchmarks() {
		b.Run(c.name, func(b *testing.B) {
			dst := make([]byte, 0, 1024)
			b.ReportAllocs()
			b.SetBytes(int64(len(c.p.Append(dst, c.v))))
			for b.Loop() {
				dst = c.p.Append(dst[:0], c.v)
			}
		})
	}
}

func BenchmarkEncodedAppend(b *testing.B) {
	e := device(1).Encode(nil, packet.V5)
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	b.SetBytes(int64(e.Len()))
	for b.Loop() {
		dst = e.Append(dst[:0], 7, false)
	}
}

func BenchmarkReader(b *testing.B) {
	stream := bytes.Repeat(device(1).Append(nil, packet.V5), 64)
	src := bytes.NewReader(nil)
	r := packet.NewReader(src, 0)
	b.ReportAllocs()
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		src.Reset(stream)
		for range 64 {
			if _, _, err := r.Next(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
