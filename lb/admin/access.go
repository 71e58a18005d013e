package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
)

// public is for what load balancers and orchestrators ask: everybody may.
func (s *Server) public(h http.HandlerFunc) http.Handler { return h }

// reading is for what tells the state of the process.
func (s *Server) reading(h http.HandlerFunc) http.Handler {
	return s.guard(false, h)
}

// changing is for what changes something, or costs, or tells about clients.
func (s *Server) changing(h http.HandlerFunc) http.Handler {
	return http.NewCrossOriginProtection().Handler(sameSite(s.guard(true, h)))
}

// sameSite refuses what a browser sends for another site's page. For requests that change something
// http.CrossOriginProtection does, and finds out with browsers that do not say; those that only cost, GET among them,
// are left to this.
func sameSite(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Sec-Fetch-Site") {
		case "", "none", "same-origin":
			h.ServeHTTP(w, r)
		default:
			fail(w, http.StatusForbidden, "this is not for other sites' pages")
		}
	})
}

// guard lets a request through according to the table in the package's documentation.
func (s *Server) guard(sensitive bool, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := s.lb.AdminToken()
		switch {
		case token != nil && !bears(r, token):
			w.Header().Set("WWW-Authenticate", `Bearer realm="mqttlb"`)
			fail(w, http.StatusUnauthorized, "this wants the token of admin.token_file: send \"Authorization: Bearer …\"")
		case token == nil && sensitive && !s.local:
			fail(w, http.StatusForbidden, "on an address that is not loopback this wants a token: set admin.token_file, or let admin.listen be 127.0.0.1:8404")
		case token == nil && s.local && !namesLoopback(r):
			fail(w, http.StatusForbidden, "the Host of the request is not this machine's loopback address: use 127.0.0.1 or localhost")
		default:
			h(w, r)
		}
	})
}

// bears reports whether the request has the token. The comparison takes the same time whatever
// is wrong, the length included.
func bears(r *http.Request, token []byte) bool {
	got, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256(token)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// namesLoopback reports whether a request on loopback means to be there. A page from elsewhere whose name
// was made to resolve to 127.0.0.1 (DNS rebinding) does not. On a Unix socket any name will do: no
// browser gets there.
func namesLoopback(r *http.Request) bool {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && addr.Network() == "unix" {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return isLoopbackHost(strings.Trim(host, "[]"))
}
