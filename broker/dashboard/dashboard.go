package dashboard

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/mqttlb/mqttlb/broker"
)

//go:embed web
var web embed.FS

// Options say what is served where.
type Options struct {
	Listen  string // host:port
	Broker  *broker.Broker
	Version string       // of the program; shown
	Log     *slog.Logger // nil = nothing is logged
	Token   string       // who signs in must know it; "" = nobody signs in, and only loopback is served
}

// Server is an open port. New makes it, Run runs it, once.
type Server struct {
	broker   *broker.Broker
	log      *slog.Logger
	version  string
	token    string
	local    bool     // only this machine can reach the address
	cookie   string   // its name; browsers do not keep cookies of two ports of a host apart
	key      [32]byte // of the process, for what only it can have made
	attempts attempts
	sampler  sampler
	walks    chan struct{} // has room for whoever may walk through the node's lists at a time
	began    time.Time     // when the page was opened, which is when the node was
	pages    *template.Template
	ln       net.Listener
	http     http.Server
}

// Limits of the HTTP side.
const (
	// maxConnections bounds the clients at once, and with maxHeader and maxForm what they can make us hold.
	maxConnections = 32
	readTimeout    = 5 * time.Second
	writeTimeout   = 20 * time.Second // a slow phone reads a page of foreign texts
	idleTimeout    = 2 * time.Minute
	// A client identifier has up to 65,535 bytes (MQTT 5, section 1.5.4), each of which may be three characters of an address. Pages
	// of lists begin after one, or after one and a filter.
	maxHeader = 512 << 10
	maxForm   = 256 << 10
	// maxWalks bounds the lists that are made at a time: many open pages take turns at a large node's sessions.
	maxWalks = 2
)

// New opens the port. Whoever does not call Run calls Close.
func New(o Options) (*Server, error) {
	pages, err := template.New("").Funcs(functions()).ParseFS(web, "web/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse the dashboard's templates: %w", err)
	}
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("open the dashboard: %w", err)
	}
	s := &Server{
		broker: o.Broker, log: o.Log, version: o.Version, token: o.Token, key: newKey(),
		sampler: sampler{stats: o.Broker.Stats, every: sampleEvery},
		walks:   make(chan struct{}, maxWalks),
		began:   time.Now(), pages: pages, ln: ln,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		s.local = a.IP.IsLoopback()
		s.cookie = "mqttbroker_" + strconv.Itoa(a.Port)
	}
	s.http = http.Server{
		Handler:        s.routes(),
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Addr returns the address of the port.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close closes the port of a server that was never run.
func (s *Server) Close() error { return s.ln.Close() }

// Run serves until ctx is done, then lets requests end and returns nil when all goroutines are gone. Any other
// error is that of accepting connections.
func (s *Server) Run(ctx context.Context) error {
	var served error
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		defer cancel()
		served = s.http.Serve(netutil.LimitListener(s.ln, maxConnections))
	})
	wg.Go(func() { s.sampler.run(ctx) })
	<-ctx.Done()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer done()
	if err := s.http.Shutdown(grace); err != nil {
		s.http.Close()
	}
	wg.Wait()
	if errors.Is(served, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the dashboard: %w", served)
}

// partPath begins the paths of what the page's script fetches: one part of the page each.
const partPath = "/part/"

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", s.guard(s.walking(s.page)))
	mux.Handle("GET "+partPath+"figures", s.guard(s.figuresPart))
	mux.Handle("GET "+partPath+"clients", s.guard(s.walking(s.clientsPart)))
	mux.Handle("GET "+partPath+"retained", s.guard(s.walking(s.retainedPart)))
	mux.Handle("GET "+partPath+"subscriptions", s.guard(s.walking(s.subscriptionsPart)))
	mux.Handle("GET /client", s.guard(s.client))
	mux.Handle("POST /client/disconnect", s.changing(s.disconnect))
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("POST /login", s.signIn)
	mux.Handle("POST /logout", s.changing(s.signOut))
	for _, name := range []string{"page.css", "page.js", "icon.svg"} {
		mux.HandleFunc("GET /"+name, s.asset(name))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		s.refuse(w, http.StatusNotFound, "There is nothing at this address.")
	})
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.refuse(w, http.StatusForbidden, "This request comes from another site's page.")
	}))
	return safe(http.MaxBytesHandler(origin.Handler(mux), maxForm))
}

// walking bounds how many requests go through the node's lists at a time. The others wait for their turn, as long as their
// client does.
func (s *Server) walking(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), writeTimeout/2)
		defer cancel()
		select {
		case s.walks <- struct{}{}:
			defer func() { <-s.walks }()
			h(w, r)
		case <-ctx.Done():
			s.refuse(w, http.StatusServiceUnavailable, "Too many pages are being made. Try again.")
		}
	}
}

// asset serves a file of the page. It holds nothing of the node, so everybody may have it: the sign-in form needs it.
func (s *Server) asset(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		content, err := fs.ReadFile(web, "web/"+name)
		if err != nil {
			s.refuse(w, http.StatusNotFound, "There is nothing at this address.")
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, name, s.began, bytes.NewReader(content))
	}
}

// frame is what every page has around its content. Who is not signed in is told neither node nor version.
type frame struct {
	Title   string
	Node    string
	Version string
	Notice  string // something to be told, once
	CSRF    string
	Signed  bool // there is something to sign out of
	Content any
}

func (s *Server) frame(r *http.Request, title string, content any) frame {
	return frame{
		Title: title, Node: s.broker.Node(), Version: s.version,
		CSRF: s.csrf(r), Signed: s.token != "", Content: content,
	}
}

// refuse answers with a page that says why.
func (s *Server) refuse(w http.ResponseWriter, code int, why string) {
	s.show(w, code, "refusal", frame{Title: http.StatusText(code), Notice: why})
}

// show answers with a whole page. Nothing is sent before it is complete.
func (s *Server) show(w http.ResponseWriter, code int, name string, f frame) {
	s.write(w, code, name, f)
}

// part answers with a part of the page.
func (s *Server) part(w http.ResponseWriter, name string, content any) {
	s.write(w, http.StatusOK, name, content)
}

func (s *Server) write(w http.ResponseWriter, code int, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		s.log.Error("cannot make a page of the dashboard", slog.String("page", name), slog.Any("error", err))
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	w.Write(b.Bytes()) // a reader who has gone needs no answer
}
