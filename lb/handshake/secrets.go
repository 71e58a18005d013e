package handshake

import (
	"crypto/fips140"
	"crypto/tls"
	"net"

	"github.com/mqttlb/mqttlb/lb/record"
)

// secrets is what a handshake leaves that package record goes on with.
type secrets struct {
	keys    record.KeyLog
	client  random // of the ClientHello
	server  random // of the ServerHello
	tickets uint64 // sent after the handshake's last message, a record each
	large   bool   // a ticket that may be more than one record
}

// A random takes that of a hello from the front of a stream: it is behind record header, message header and version (RFC 5246,
// section 7.4.1; RFC 8446, section 4.1).
type random struct {
	front [record.HeaderSize + 4 + 2 + 32]byte
	have  int
}

// see takes what comes next.
func (r *random) see(p []byte) { r.have += copy(r.front[r.have:], p) }

func (r *random) value() [32]byte { return [32]byte(r.front[len(r.front)-32:]) }

// listen lets cfg, which is this handshake's alone, tell what there is to know. The master secret of TLS 1.2, which
// crypto/tls does not log when a session is resumed, goes with the ticket, which has it anyway.
func (s *secrets) listen(cfg *tls.Config) {
	cfg.KeyLogWriter = &s.keys
	cfg.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		s.keys.Save(state, session)
		ticket, err := cfg.EncryptTicket(state, session)
		s.tickets++
		s.large = s.large || len(ticket) > record.MaxPlaintext-maxTicketFrame
		return ticket, err
	}
	cfg.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := cfg.DecryptTicket(ticket, state)
		if session != nil {
			s.keys.Load(session)
		}
		return session, err
	}
}

// maxTicketFrame is what a NewSessionTicket has beside the ticket, rounded up (RFC 8446, section 4.6.1): 4 of the message, 4 + 4
// of times, 1 + 255 of the nonce, 2 of the ticket's length, 2 and some of extensions.
const maxTicketFrame = 512

// conn returns the connection to go on with once client's handshake is complete: one of package record, which costs a tenth of a
// tls.Conn, or client itself where package record has no say, with cipher suites without AEAD.
func (s *secrets) conn(client *tls.Conn, under *conn, done *tls.ConnectionState) net.Conn {
	defer s.keys.Wipe()
	// A large ticket holds the client's certificates, a long chain. FIPS 140-only mode allows AES-GCM to nobody who makes
	// the nonces himself.
	if s.large || fips140.Enforced() {
		return client
	}
	state, err := s.keys.State(record.Handshake{
		Version: done.Version, Suite: done.CipherSuite, Resumed: done.DidResume, Written: s.tickets,
		ClientRandom: s.client.value(), ServerRandom: s.server.value(),
	})
	if err != nil { // record.ErrUnsupported
		return client
	}
	return record.NewConn(under.Conn, state, under.in.buf)
}
