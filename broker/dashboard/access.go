package dashboard

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sessionTime is how long a sign-in lasts: a working day. The end of the process ends it, too.
const sessionTime = 12 * time.Hour

// policy is the Content-Security-Policy of every answer: nothing but the page's own style, script and icon, from here.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// safe sets what every answer says to browsers. The referrer policy is not no-referrer because forms would then be sent with "Origin:
// null" (Fetch, "append a request Origin header"), which could not be told from another site's.
func safe(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		h.ServeHTTP(w, r)
	})
}

// guard lets a request through according to the table in the package's documentation.
func (s *Server) guard(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case embedded(r):
			s.refuse(w, http.StatusForbidden, "This page is not for other sites to embed or fetch.")
		case !s.mayServe(w, r):
		case s.token == "" || s.signedIn(r):
			h(w, r)
		case r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, partPath):
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		default:
			s.refuse(w, http.StatusUnauthorized, "You are not signed in any more. Load the page again.")
		}
	})
}

// mayServe reports whether the page is served at this address at all, under the name that the request gives it, and
// answers if not.
func (s *Server) mayServe(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case s.token == "" && !s.local:
		s.refuse(w, http.StatusForbidden, "This page names clients and can disconnect them. On an address that is not loopback it wants a token: "+
			"set one, or let dashboard.listen be 127.0.0.1:18083 and come through an SSH tunnel.")
	case s.token == "" && !namesLoopback(r.Host):
		s.refuse(w, http.StatusForbidden, "The Host of the request is not this machine's loopback address: use 127.0.0.1 or localhost.")
	default:
		return true
	}
	return false
}

// embedded reports whether a browser sends the request for another site's page, other than by following a link.
func embedded(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Method != http.MethodGet
}

// namesLoopback reports whether a request means to be on loopback. A page from elsewhere whose name was made to resolve to
// 127.0.0.1 (DNS rebinding) does not. With a token that needs no check: the cookie belongs to the name under which it was given.
func namesLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// login shows the form.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	switch {
	case !s.mayServe(w, r):
	case s.token == "" || s.signedIn(r):
		http.Redirect(w, r, "/", http.StatusSeeOther)
	default:
		s.show(w, http.StatusOK, "login", frame{Title: "Sign in"})
	}
}

// signIn gives a session to who knows the token. The comparison takes the same time whatever is wrong, the length included.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	if !s.mayServe(w, r) {
		return
	}
	source := sourceOf(r.RemoteAddr)
	if wait := s.attempts.take(source, time.Now()); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		s.show(w, http.StatusTooManyRequests, "login", frame{Title: "Sign in", Notice: "Too many attempts. Try again in " + span(wait+time.Second) + "."})
		return
	}
	got, want := sha256.Sum256([]byte(r.PostFormValue("token"))), sha256.Sum256([]byte(s.token))
	if s.token == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		s.log.Warn("somebody tried to sign in to the dashboard with a wrong token", slog.String("address", r.RemoteAddr)) // as often as attempts lets him
		s.show(w, http.StatusUnauthorized, "login", frame{Title: "Sign in", Notice: "That is not the token."})
		return
	}
	s.attempts.clear(source)
	s.setCookie(w, r, s.session(time.Now().Add(sessionTime)), int(sessionTime.Seconds()))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// signOut takes the cookie away.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	s.setCookie(w, r, "", -1)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookie, Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}

// session is a cookie's value: when it ends, and the proof that we said so to somebody who knew the token.
func (s *Server) session(ends time.Time) string {
	at := strconv.FormatInt(ends.Unix(), 10)
	return at + "." + s.seal("session", at)
}

// signedIn reports whether a request carries a session that has not ended.
func (s *Server) signedIn(r *http.Request) bool {
	c, err := r.Cookie(s.cookie)
	if err != nil {
		return false
	}
	at, _, _ := strings.Cut(c.Value, ".")
	ends, err := strconv.ParseInt(at, 10, 64)
	return err == nil && hmac.Equal([]byte(c.Value), []byte(s.session(time.Unix(ends, 0)))) && time.Now().Unix() < ends
}

// csrf is what a form must bring along that changes something. Only who has been shown the page can know it: it depends on the
// process's key, and on the session where there is one.
func (s *Server) csrf(r *http.Request) string {
	session := ""
	if c, err := r.Cookie(s.cookie); err == nil && s.token != "" {
		session = c.Value
	}
	return s.seal("form", session)
}

// changing is guard for what changes something: the request must come from a form of ours. The handler has its
// values in r.PostForm.
func (s *Server) changing(h http.HandlerFunc) http.Handler {
	return s.guard(func(w http.ResponseWriter, r *http.Request) {
		if !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(s.csrf(r))) {
			s.refuse(w, http.StatusForbidden, "The form was too old, or not from this page. Load the page again.")
			return
		}
		h(w, r)
	})
}

// seal is a MAC that only this process can make. The token is part of what is sealed, and cannot be learnt from it.
func (s *Server) seal(purpose, text string) string {
	mac := hmac.New(sha256.New, s.key[:])
	token := sha256.Sum256([]byte(s.token)) // of one length, so that no two texts are one
	mac.Write(token[:])
	mac.Write([]byte(purpose + " " + text)) // no purpose has a blank
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// newKey makes the process's key.
func newKey() (key [32]byte) {
	rand.Read(key[:]) // it never fails (crypto/rand)
	return key
}
