package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// reading is for what tells the state of the node.
func (s *Server) reading(h http.HandlerFunc) http.Handler { return s.guard(false, h) }

// sensitive is for what changes something, names clients, or shows their messages.
func (s *Server) sensitive(h http.HandlerFunc) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(refuseSite))
	return protection.Handler(sameSite(s.guard(true, h)))
}

// sameSite refuses what a browser sends for another site's page. For requests that change something
// http.CrossOriginProtection does, and finds out with browsers that do not say; those that only read are left to this.
func sameSite(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Sec-Fetch-Site") {
		case "", "none", "same-origin":
			h.ServeHTTP(w, r)
		default:
			refuseSite(w, r)
		}
	})
}

func refuseSite(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusForbidden, "this is not for other sites' pages: ask from a program, or from a page of this address")
}

// guard lets a request through according to the table in the package's documentation.
func (s *Server) guard(sensitive bool, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.token != "" && !bears(r, s.token):
			w.Header().Set("WWW-Authenticate", `Bearer realm="mqttbroker"`) // RFC 6750, section 3
			fail(w, http.StatusUnauthorized, "this wants the API's token: send \"Authorization: Bearer …\"")
		case s.token == "" && sensitive && !s.local:
			fail(w, http.StatusForbidden, "on an address that is not loopback this wants a token: give the API one, or let api.listen be 127.0.0.1:8080")
		case s.token == "" && s.local && !namesLoopback(r.Host):
			fail(w, http.StatusForbidden, "the Host of the request is not this machine's loopback address: use 127.0.0.1 or localhost")
		default:
			h(w, r)
		}
	})
}

// bears reports whether the request has the token (RFC 6750, section 2.1; the scheme in any case, RFC 9110, section
// 11.1). The comparison takes the same time whatever is wrong, the length included.
func bears(r *http.Request, token string) bool {
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(token))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// namesLoopback reports whether a request on loopback means to be there. A page from elsewhere whose name
// was made to resolve to 127.0.0.1 (DNS rebinding) does not.
func namesLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}
