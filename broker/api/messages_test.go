package api

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestPublish(t *testing.T) {
	a := start(t, Options{})
	d := a.connect("c")
	d.subscribe(packet.Options{QoS: 2, RetainAsPublished: true}, "a/#")
	var all packet.Properties
	all.AddInt(packet.PayloadFormat, 1)
	all.AddBytes(packet.ContentType, []byte("text/plain"))
	all.AddBytes(packet.ResponseTopic, []byte("answers"))
	all.AddBytes(packet.CorrelationData, []byte{0, 1, 255})
	all.AddUser([]byte("k"), []byte("1"))
	all.AddUser([]byte("k"), []byte("2"))
	tests := []struct {
		name, body string
		want       packet.Publish
	}{
		{"the least", `{"topic": "a/b"}`, packet.Publish{Topic: []byte("a/b")}},
		{"text", `{"topic": "a/b", "payload": "Ünï\u0000\"☃", "qos": 1}`, packet.Publish{Topic: []byte("a/b"), Payload: []byte("Ünï\x00\"☃"), QoS: 1}},
		{"binary", `{"topic": "a/b", "payload_base64": "AP//", "qos": 1, "retain": true}`, packet.Publish{Topic: []byte("a/b"), Payload: []byte{0, 255, 255}, QoS: 1, Retain: true}},
		{"properties", `{"topic": "a", "properties": {"payload_format_indicator": 1, "content_type": "text/plain", "response_topic": "answers",
			"correlation_data_base64": "AAH/", "user_properties": [{"name": "k", "value": "1"}, {"name": "k", "value": "2"}]}}`, packet.Publish{Topic: []byte("a"), Properties: all}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if text := a.want(http.StatusOK, "POST", "/api/v1/publish", tt.body); !strings.Contains(text, `"matched": true`) {
				t.Error(text)
			}
			h, body := d.next(packet.PUBLISH)
			var got packet.Publish
			if err := got.Decode(packet.V5, h, body); err != nil {
				t.Fatal(err)
			}
			id := got.PacketID
			got.PacketID, tt.want.PacketID = 1, 1
			if !bytes.Equal(got.Append(nil, packet.V5), tt.want.Append(nil, packet.V5)) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if got.QoS == 1 {
				d.write((&packet.Ack{Type: packet.PUBACK, PacketID: id}).Append(nil, packet.V5))
			}
		})
	}
	if text := a.want(http.StatusOK, "POST", "/api/v1/publish", `{"topic": "b"}`); !strings.Contains(text, `"matched": false`) {
		t.Error(text)
	}
}

func TestPublishWrongly(t *testing.T) {
	a := start(t, Options{})
	for _, tt := range []struct {
		body, why string
		status    int
	}{
		{``, "one JSON object", 400},
		{`{"topic": "a"`, "one JSON object", 400},
		{`["a"]`, "one JSON object", 400},
		{`{"topic": "a"} {"topic": "b"}`, "follows", 400},
		{`{"topic": "a", "payloads": "x"}`, "payloads", 400},
		{`{"topic": "a", "qos": "1"}`, "qos", 400},
		{`{"topic": "a", "qos": 3}`, "0, 1 or 2, not 3", 400},
		{`{"topic": "a", "qos": -1}`, "0, 1 or 2", 400},
		{`{"topic": "a", "payload": "x", "payload_base64": "eA=="}`, "one of them", 400},
		{`{"topic": "a", "payload_base64": "!"}`, "base64", 400},
		{"{\"topic\": \"a\", \"payload\": \"\xff\"}", "payload_base64", 400},
		{`{"payload": "x"}`, "empty", 400},
		{`{"topic": "a/#"}`, "wildcard", 400},
		{`{"topic": "$SYS/broker/version", "payload": "x"}`, "the node's own", 400},
		{`{"topic": "a", "properties": {"message_expiry_interval": 0}}`, "leave it out", 400},
		{`{"topic": "a", "properties": {"message_expiry_interval": -1}}`, "message_expiry_interval", 400},
		{`{"topic": "a", "properties": {"payload_format_indicator": 2}}`, "payload format", 400},
		{`{"topic": "a", "properties": {"content_type": "a\u0000"}}`, "U+0000", 400},
		{`{"topic": "a", "properties": {"user_properties": [{"name": "a", "value": "\u0000"}]}}`, "U+0000", 400},
		{`{"topic": "a", "properties": {"response_topic": "a/+"}}`, "response topic", 400},
		{`{"topic": "a", "properties": {"response_topic": ""}}`, "response topic", 400},
		{fmt.Sprintf(`{"topic": "a", "payload": %q}`, strings.Repeat("x", 2<<20)), "max_packet_size", 400},
		{fmt.Sprintf(`{"topic": "a", "payload": %q}`, strings.Repeat("x", 5<<20)), "over MQTT", 413},
	} {
		if text := a.want(tt.status, "POST", "/api/v1/publish", tt.body); !strings.Contains(text, tt.why) {
			t.Errorf("%.80s: %s, want %q", tt.body, text, tt.why)
		}
	}
	a.want(http.StatusBadRequest, "POST", "/api/v1/publish?topic=a", "{}")
	if st := a.broker.Stats(); st.Retained != 0 {
		t.Errorf("%d retained", st.Retained)
	}
}

func TestRetained(t *testing.T) {
	a := start(t, Options{})
	d := a.connect("c")
	var p packet.Properties
	p.AddInt(packet.MessageExpiry, 600)
	p.AddInt(packet.PayloadFormat, 0)
	p.AddBytes(packet.ContentType, []byte("x/y"))
	p.AddBytes(packet.ResponseTopic, []byte("r"))
	p.AddBytes(packet.CorrelationData, []byte{1, 0})
	p.AddUser([]byte("k"), []byte("v"))
	long := strings.Repeat("☃", 2000) // of three bytes each
	noise := bytes.Repeat([]byte{0xff}, 6000)
	d.retain("a/text", []byte("Ünï<>"), p)
	d.retain("a/binary", []byte{0, 0xff}, packet.Properties{})
	d.retain("long", []byte(long), packet.Properties{})
	d.retain("noise", noise, packet.Properties{})

	var list Retained
	a.get("/api/v1/retained", &list)
	var topics []string
	for _, m := range list.Retained {
		topics = append(topics, m.Topic)
	}
	if !slices.Equal(topics, []string{"a/binary", "a/text", "long", "noise"}) || list.More {
		t.Fatalf("%q, more %v", topics, list.More)
	}
	if m := list.Retained[0]; m.Payload != nil || !bytes.Equal(m.Base64, []byte{0, 0xff}) || m.Size != 2 || m.Cut || m.QoS != 1 || m.Publisher != "c" || m.Properties != nil {
		t.Errorf("%+v", m)
	}
	m := list.Retained[1]
	if m.Payload == nil || *m.Payload != "Ünï<>" || m.Base64 != nil || m.Properties == nil {
		t.Fatalf("%+v", m)
	}
	if p := m.Properties; *p.MessageExpiry > 600 || *p.MessageExpiry < 600-uint32(patience.Seconds()) || *p.PayloadFormat != 0 || *p.ContentType != "x/y" ||
		*p.ResponseTopic != "r" || !bytes.Equal(p.CorrelationData, []byte{1, 0}) || !slices.Equal(p.User, []UserProperty{{"k", "v"}}) {
		t.Errorf("%+v", p)
	}
	if m := list.Retained[2]; m.Payload == nil || *m.Payload != long[:4095] || !m.Cut || m.Size != 6000 {
		t.Errorf("%+v", m)
	}
	if m := list.Retained[3]; !bytes.Equal(m.Base64, noise[:4096]) || !m.Cut {
		t.Errorf("%+v", m)
	}

	for topic, want := range map[string]string{"long": long, "noise": base64.StdEncoding.EncodeToString(noise)} {
		if text := a.want(http.StatusOK, "GET", "/api/v1/retained?filter="+topic, ""); !strings.Contains(text, want) || strings.Contains(text, "truncated") {
			t.Errorf("%s is not there as a whole", topic)
		}
	}
	a.get("/api/v1/retained?filter=a/%2B&limit=1", &list)
	if len(list.Retained) != 1 || !list.More {
		t.Errorf("%+v", list)
	}
	a.get("/api/v1/retained?filter=nothing", &list)
	if list.Retained == nil || len(list.Retained) != 0 || list.More {
		t.Errorf("%+v", list)
	}
	a.want(http.StatusBadRequest, "GET", "/api/v1/retained?filter=a%23", "")
	a.want(http.StatusBadRequest, "GET", "/api/v1/retained?topic=a", "")
}

func TestDeleteRetained(t *testing.T) {
	a := start(t, Options{})
	d := a.connect("c")
	for _, topic := range []string{"a/b", "a/c"} {
		d.retain(topic, []byte("x"), packet.Properties{})
	}
	a.want(http.StatusBadRequest, "DELETE", "/api/v1/retained", "")
	a.want(http.StatusBadRequest, "DELETE", "/api/v1/retained?topic=a/%2B", "")
	a.want(http.StatusBadRequest, "DELETE", "/api/v1/retained?topic=%23", "")
	a.want(http.StatusBadRequest, "DELETE", "/api/v1/retained?filter=a/b", "")
	if st := a.broker.Stats(); st.Retained != 2 {
		t.Fatalf("%d are left, want 2", st.Retained)
	}
	a.want(http.StatusNoContent, "DELETE", "/api/v1/retained?topic=a%2Fb", "")
	a.want(http.StatusNotFound, "DELETE", "/api/v1/retained?topic=a%2Fb", "")
	if page, _, err := a.broker.Retained("#", 0); err != nil || len(page) != 1 || page[0].Topic != "a/c" {
		t.Errorf("%+v, %v", page, err)
	}
}
