package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mqttlb/mqttlb/broker"
)

// Failure is the answer to every request that was not done.
type Failure struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, code int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(v) // it fails only when the client has left
}

func fail(w http.ResponseWriter, code int, format string, args ...any) {
	answer(w, code, Failure{fmt.Sprintf(format, args...)})
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	io.WriteString(w, text+"\n") // a reader who has gone needs no answer
}

// explained answers in our words where the mux has no handler for a path or a method.
func explained(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		v := verdict{header: make(http.Header)}
		h.ServeHTTP(&v, r)
		switch v.code {
		case http.StatusNotFound:
			noPath(w)
		case http.StatusMethodNotAllowed:
			allow := v.header.Get("Allow")
			w.Header().Set("Allow", allow) // RFC 9110, section 15.5.6
			fail(w, v.code, "there is no %.20s here: use %s", r.Method, allow)
		default: // a redirection
			mux.ServeHTTP(w, r)
		}
	})
}

func noPath(w http.ResponseWriter) {
	fail(w, http.StatusNotFound, "there is nothing at this path; what there is begins with /api/v1/, or is /metrics, /healthz or /readyz")
}

// verdict is what a handler says that has nothing to show.
type verdict struct {
	header http.Header
	code   int
}

// Header implements http.ResponseWriter.
func (v *verdict) Header() http.Header { return v.header }

// WriteHeader implements http.ResponseWriter.
func (v *verdict) WriteHeader(code int) { v.code = code }

// Write implements http.ResponseWriter.
func (v *verdict) Write(p []byte) (int, error) { return len(p), nil }

// query reads the parameters of a request, of which it knows those that are named.
func query(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the parameters cannot be read: percent-encode their values: %w", err)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(names, name):
			return nil, fmt.Errorf("there is no parameter %.40q here: use %s", name, strings.Join(names, ", "))
		case len(values) > 1:
			return nil, fmt.Errorf("the parameter %s is there %d times: once is enough", name, len(values))
		}
	}
	return q, nil
}

const defaultLimit = 100

// listed reads the parameters of a list, limit among them. When it is false the request has been answered.
func listed(w http.ResponseWriter, r *http.Request, names ...string) (q url.Values, most int, ok bool) {
	q, err := query(r, names...)
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return nil, 0, false
	}
	text := q.Get("limit")
	if text == "" {
		return q, defaultLimit, true
	}
	most, err = strconv.Atoi(text)
	if err != nil || most < 1 || most > broker.MaxPage {
		fail(w, http.StatusBadRequest, "limit is to be a number from 1 to %d", broker.MaxPage)
		return nil, 0, false
	}
	return q, most, true
}

// decode reads the body, one JSON value without fields that v lacks. The error is for the client, with its status.
func decode(r *http.Request, v any) (status int, err error) {
	body, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return http.StatusRequestEntityTooLarge, fmt.Errorf("the body is longer than %d bytes: publish over MQTT", long.Limit)
	case err != nil:
		return http.StatusBadRequest, fmt.Errorf("read the body: %w", err)
	case !utf8.Valid(body): // package json would put U+FFFD in its place without a word
		return http.StatusBadRequest, errors.New("the body is not UTF-8: send such a payload as payload_base64")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err = dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the object")
		}
	}
	if err != nil {
		return http.StatusBadRequest, fmt.Errorf("the body is to be one JSON object, such as {\"topic\": \"a/b\", \"payload\": \"text\"}: %w", err)
	}
	return http.StatusOK, nil
}
