package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mqttlb/mqttlb/lb"
	"github.com/mqttlb/mqttlb/lb/config"
)

// Reload is the answer of POST /api/v1/reload: 200 with the changes, 422 with the problems.
type Reload struct {
	Changes  []string `json:"changes"`            // a line each; none = nothing to do
	Problems []string `json:"problems,omitempty"` // a line each; the old configuration goes on
}

// Failure is the answer to every request that was not done.
type Failure struct {
	Error string `json:"error"`
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", s.public(s.healthz))
	mux.Handle("GET /readyz", s.public(s.readyz))
	metrics := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry})
	mux.Handle("GET /metrics", s.reading(metrics.ServeHTTP))
	mux.Handle("GET /api/v1/status", s.reading(s.status))
	mux.Handle("POST /api/v1/reload", s.changing(s.reload))
	mux.Handle("GET /debug/pprof/", s.changing(bounded(pprof.Index)))
	mux.Handle("GET /debug/pprof/cmdline", s.changing(pprof.Cmdline))
	mux.Handle("GET /debug/pprof/profile", s.changing(bounded(pprof.Profile)))
	mux.Handle("GET /debug/pprof/symbol", s.changing(pprof.Symbol))
	mux.Handle("GET /debug/pprof/trace", s.changing(bounded(pprof.Trace)))
	return http.MaxBytesHandler(mux, maxHeader)
}

// maxProfile bounds how long a profile may take.
const maxProfile = time.Minute

// bounded refuses a profile of more than maxProfile: package pprof would go on for as long as it is asked to.
func bounded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			if seconds, err := strconv.ParseFloat(text, 64); err != nil || !(seconds >= 0 && seconds <= maxProfile.Seconds()) {
				fail(w, http.StatusBadRequest, fmt.Sprintf("seconds is to be a number from 0 to %.0f", maxProfile.Seconds()))
				return
			}
		}
		h(w, r)
	}
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if why := s.lb.Unready(); len(why) > 0 {
		http.Error(w, strings.Join(why, "\n"), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	st := s.lb.Status()
	st.Version = s.version
	answer(w, http.StatusOK, st)
}

// reload asks for a reload and waits for it, no longer than the response may take.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	change, err := s.lb.Reload(ctx, lb.API)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		answer(w, http.StatusUnprocessableEntity, Reload{Changes: []string{}, Problems: strings.Split(problems.Error(), "\n")})
	case err != nil:
		fail(w, http.StatusServiceUnavailable, err.Error())
	default:
		answer(w, http.StatusOK, Reload{Changes: append([]string{}, change.Lines()...)})
	}
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(v) // it fails only when the client has left
}

func fail(w http.ResponseWriter, code int, why string) { answer(w, code, Failure{why}) }
