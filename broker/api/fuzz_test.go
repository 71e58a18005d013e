package api

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// FuzzPublication: no body does harm, and what goes through says the same on the way back.
func FuzzPublication(f *testing.F) {
	for _, body := range []string{
		`{"topic": "a/b"}`,
		`{"topic": "a/b", "payload": "Ünï\u0000☃", "qos": 1, "retain": true}`,
		`{"topic": "a", "payload_base64": "AP//", "properties": {"message_expiry_interval": 9, "payload_format_indicator": 1, "content_type": "",
			"response_topic": "r", "correlation_data_base64": "AAH/", "user_properties": [{"name": "k", "value": "1"}, {"name": "", "value": ""}]}}`,
		`null`, `[]`, `{"properties": null}`, `{"topic": "a", "properties": {"user_properties": [null]}}`, "{\"topic\": \"\xff\"}", `{"qos": 1e9}`, `{} {}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var p Publication
		r := httptest.NewRequest(http.MethodPost, "/api/v1/publish", bytes.NewReader(body))
		if code, err := decode(r, &p); err != nil {
			if code < 400 {
				t.Errorf("%d for %v", code, err)
			}
			return
		}
		req, err := p.request()
		if err != nil {
			return
		}
		out := packet.Publish{Topic: []byte("t"), Properties: req.Properties}
		if out.Size(packet.V5) == 0 { // some value has no form
			return
		}
		now := time.Now()
		var expires time.Time
		if req.Expiry > 0 {
			expires = now.Add(req.Expiry)
		}
		back := newProperties(req.Properties, expires, now)
		if back == nil {
			back = new(Properties)
		}
		if len(p.Properties.User) == 0 {
			p.Properties.User = nil
		}
		if !reflect.DeepEqual(*back, p.Properties) {
			t.Errorf("%+v became %+v", p.Properties, *back)
		}
		if !utf8.ValidString(req.Topic) || p.Payload != nil && strings.ToValidUTF8(*p.Payload, "") != string(req.Payload) {
			t.Errorf("%q %q", req.Topic, req.Payload)
		}
	})
}

// FuzzNamed: no path does harm, and an identifier that comes out goes in again.
func FuzzNamed(f *testing.F) {
	for _, path := range []string{"c", "%2F", "a%2Fb", "..%2f", "a/subscriptions", "a/b/c", "", "/", "%zz", "%", "\xff", "%FF"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawPath = clientsPath+path, clientsPath+path
		w := httptest.NewRecorder()
		id, _, ok := named(w, r)
		if ok == (id == "") || !ok && w.Code != http.StatusBadRequest {
			t.Errorf("%q: %q, %v, %d", path, id, ok, w.Code)
		}
	})
}
