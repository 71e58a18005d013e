package lb

import "time"

// stop ends the service gracefully; see Run. The second half of shutdown_timeout is when
// sessions are closed one by one, evenly.
func (s *Server) stop() {
	s.stopAccepting()
	s.tell(Stopping)
	timeout := s.Config().ShutdownTimeout
	s.log.Info("stopping", "sessions", s.live.count(), "shutdown_timeout", timeout)

	empty := s.live.drained()
	if waitFor(empty, timeout/2) {
		s.log.Info("stopped")
		return
	}
	left := s.live.all()
	for i, c := range left {
		if waitFor(empty, timeout/2/time.Duration(len(left))) {
			break
		}
		if i < len(left)-1 {
			c.close(Drained)
		}
	}
	for _, c := range s.live.all() {
		c.close(Stopped)
	}
	<-empty // within 5 s, the deadline of a TLS alert, or connect_timeout, that of a server's first bytes
	s.log.Info("stopped", "left_at_half_time", len(left))
}

// stopAccepting closes every port; a reload that is under way is waited for, and none comes after it.
func (s *Server) stopAccepting() {
	s.changing.Lock()
	defer s.changing.Unlock()
	close(s.stopping)
	s.closePorts(func(*port) bool { return true })
}

// waitFor waits until c is closed, d at most, and reports whether it is.
func waitFor(c <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}
