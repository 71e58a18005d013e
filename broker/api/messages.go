package api

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// Properties are those of MQTT 5 that go with a message to its subscribers (section 3.3.2.3), and its expiry.
type Properties struct {
	PayloadFormat   *uint32        `json:"payload_format_indicator,omitempty"` // 1: the payload is UTF-8
	MessageExpiry   *uint32        `json:"message_expiry_interval,omitempty"`  // seconds, from now on
	ContentType     *string        `json:"content_type,omitempty"`
	ResponseTopic   *string        `json:"response_topic,omitempty"`
	CorrelationData []byte         `json:"correlation_data_base64,omitempty"`
	User            []UserProperty `json:"user_properties,omitempty"`
}

// UserProperty is one user property; a name may come again.
type UserProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// newProperties returns nil when there are none.
func newProperties(p packet.Properties, expires, now time.Time) *Properties {
	if p.Empty() && expires.IsZero() {
		return nil
	}
	var out Properties
	if format, there := p.Int(packet.PayloadFormat); there {
		out.PayloadFormat = &format
	}
	if !expires.IsZero() {
		left := uint32(max(expires.Sub(now)+time.Second-1, 0) / time.Second)
		out.MessageExpiry = &left
	}
	out.ContentType, out.ResponseTopic = text(p, packet.ContentType), text(p, packet.ResponseTopic)
	out.CorrelationData = p.Bytes(packet.CorrelationData)
	for name, value := range p.User() {
		out.User = append(out.User, UserProperty{string(name), string(value)})
	}
	return &out
}

func text(p packet.Properties, id packet.BytesProperty) *string {
	b := p.Bytes(id)
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

// encode is the way back; the expiry is not among the result.
func (p *Properties) encode() (out packet.Properties, err error) {
	if p.PayloadFormat != nil {
		out.AddInt(packet.PayloadFormat, *p.PayloadFormat)
	}
	if p.ContentType != nil {
		out.AddBytes(packet.ContentType, []byte(*p.ContentType))
	}
	if p.ResponseTopic != nil {
		out.AddBytes(packet.ResponseTopic, []byte(*p.ResponseTopic))
	}
	if p.CorrelationData != nil {
		out.AddBytes(packet.CorrelationData, p.CorrelationData)
	}
	zero := p.ContentType != nil && strings.Contains(*p.ContentType, "\x00")
	for _, u := range p.User {
		out.AddUser([]byte(u.Name), []byte(u.Value))
		zero = zero || strings.Contains(u.Name+u.Value, "\x00")
	}
	if zero { // [MQTT-1.5.4-2]
		return out, errors.New("a property holds the character U+0000, which MQTT's strings may not")
	}
	return out, nil
}

// Retained is the answer of GET /api/v1/retained, sorted by topic.
type Retained struct {
	Retained []RetainedMessage `json:"retained"`
	More     bool              `json:"more"` // there are others: narrow the filter
}

// RetainedMessage is one retained message. Its payload is in Payload if it is UTF-8, else in Base64.
type RetainedMessage struct {
	Topic      string      `json:"topic"`
	QoS        byte        `json:"qos"`
	Size       int         `json:"size"` // of the payload, in bytes
	Payload    *string     `json:"payload,omitempty"`
	Base64     []byte      `json:"payload_base64,omitempty"`
	Cut        bool        `json:"truncated,omitempty"` // there is more of the payload: ask for this topic alone
	Publisher  string      `json:"publisher,omitempty"` // client identifier
	Properties *Properties `json:"properties,omitempty"`
}

// shown is how many bytes of a payload are in a list. A page is then 6 MB at most; a message that is asked for by its
// topic is there as a whole.
const shown = 4 << 10

func newRetained(i broker.RetainedInfo, most int, now time.Time) RetainedMessage {
	m := RetainedMessage{
		Topic: i.Topic, QoS: i.QoS, Size: len(i.Payload), Publisher: i.Publisher,
		Properties: newProperties(i.Properties, i.Expires, now),
	}
	payload := i.Payload
	isText := utf8.Valid(payload)
	if m.Cut = len(payload) > most; m.Cut {
		payload = payload[:most]
		for isText && !utf8.Valid(payload) { // of a character at the end not all is there
			payload = payload[:len(payload)-1]
		}
	}
	if isText {
		s := string(payload)
		m.Payload = &s
	} else {
		m.Base64 = payload
	}
	return m
}

func (s *Server) listRetained(w http.ResponseWriter, r *http.Request) {
	q, most, ok := listed(w, r, "filter", "limit")
	if !ok {
		return
	}
	filter := cmp.Or(q.Get("filter"), "#")
	page, more, err := s.broker.Retained(filter, most)
	if err != nil {
		fail(w, http.StatusBadRequest, "filter: %v", err)
		return
	}
	bytes := shown
	if !strings.ContainsAny(filter, "+#") {
		bytes = maxWhole
	}
	now := time.Now()
	list := Retained{Retained: []RetainedMessage{}, More: more}
	for _, i := range page {
		list.Retained = append(list.Retained, newRetained(i, bytes, now))
	}
	answer(w, http.StatusOK, list)
}

// maxWhole bounds the payload of one message, in bytes: more than that is for a subscriber.
const maxWhole = 4 << 20

func (s *Server) deleteRetained(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "topic")
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	topic := q.Get("topic")
	switch {
	case topic == "":
		fail(w, http.StatusBadRequest, "the parameter topic is missing: which message is to be forgotten?")
	case strings.ContainsAny(topic, "+#"):
		fail(w, http.StatusBadRequest, "topic is to be one topic, without wildcards: nothing was deleted")
	case !s.broker.DeleteRetained(topic):
		fail(w, http.StatusNotFound, "nothing is retained for topic %.80q", topic)
	default:
		s.log.Info("retained message deleted over the API", slog.String("topic", topic), slog.String("by", r.RemoteAddr))
		w.WriteHeader(http.StatusNoContent)
	}
}

// Publication is the body of POST /api/v1/publish.
type Publication struct {
	Topic      string     `json:"topic"`
	Payload    *string    `json:"payload"`
	Base64     []byte     `json:"payload_base64"` // instead of Payload
	QoS        int        `json:"qos"`
	Retain     bool       `json:"retain"`
	Properties Properties `json:"properties"`
}

// Published is the answer.
type Published struct {
	Matched bool `json:"matched"` // somebody subscribes to the topic
}

// request checks what JSON leaves open.
func (p *Publication) request() (out broker.PublishRequest, err error) {
	if p.QoS < 0 || p.QoS > 2 {
		return out, fmt.Errorf("qos is to be 0, 1 or 2, not %d", p.QoS)
	}
	if p.Payload != nil && p.Base64 != nil {
		return out, errors.New("there are both payload and payload_base64: give one of them")
	}
	out = broker.PublishRequest{Topic: p.Topic, Payload: p.Base64, QoS: byte(p.QoS), Retain: p.Retain}
	if p.Payload != nil {
		out.Payload = []byte(*p.Payload)
	}
	if e := p.Properties.MessageExpiry; e != nil {
		if *e == 0 {
			return out, errors.New("message_expiry_interval is 0: the message would be gone before anybody has it; leave it out for none")
		}
		out.Expiry = time.Duration(*e) * time.Second
	}
	out.Properties, err = p.Properties.encode()
	return out, err
}

func (s *Server) publish(w http.ResponseWriter, r *http.Request) {
	if _, err := query(r); err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	var p Publication
	if code, err := decode(r, &p); err != nil {
		fail(w, code, "%v", err)
		return
	}
	req, err := p.request()
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	matched, err := s.broker.Publish(req)
	switch {
	case errors.Is(err, broker.ErrStopping):
		fail(w, http.StatusServiceUnavailable, "%v", err)
	case err != nil:
		fail(w, http.StatusBadRequest, "%v", err)
	default:
		answer(w, http.StatusOK, Published{matched})
	}
}
