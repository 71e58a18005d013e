package record

// A messageType is of a handshake message (RFC 8446, section 4; RFC 5246, section 7.4).
type messageType uint8

const (
	helloRequest     messageType = 0
	clientHello      messageType = 1
	newSessionTicket messageType = 4
	keyUpdate        messageType = 24
)

const (
	messageHeader = 4       // type, and a length of three bytes (RFC 8446, section 4)
	maxTicket     = 1 << 16 // of a NewSessionTicket, in bytes: more than any real one, and as many as crypto/tls reads
)

// The bodies of a KeyUpdate (RFC 8446, section 4.6.3).
const (
	updateNotRequested = 0
	updateRequested    = 1
)

// handshake takes what a handshake record carries: parts of messages, which may go over several records. Only header and length of the
// message under way are kept.
func (s *State) handshake(c *Cache, b []byte) *Alert {
	if !s.has(tls13) {
		return s.renegotiation(b)
	}
	if len(b) == 0 { // RFC 8446, section 5.1
		return refuse(UnexpectedMessage, "it is an empty handshake record")
	}
	for len(b) > 0 {
		if s.have < messageHeader {
			n := copy(s.message[s.have:], b)
			s.have, b = s.have+uint8(n), b[n:]
			if s.have == messageHeader {
				if bad := s.begin(); bad != nil {
					return bad
				}
			}
			continue
		}
		if messageType(s.message[0]) == keyUpdate {
			if len(b) > 1 { // RFC 8446, section 5.1: the key changes between records
				return refuse(UnexpectedMessage, "it goes on behind a KeyUpdate")
			}
			return s.keyUpdate(c, b[0])
		}
		n := min(len(b), int(s.left))
		s.left, b = s.left-uint32(n), b[n:]
		if s.left == 0 {
			s.have = 0
		}
	}
	return nil
}

// begin checks the header of a message.
func (s *State) begin() *Alert {
	length := uint32(s.message[1])<<16 | uint32(s.message[2])<<8 | uint32(s.message[3])
	switch typ := messageType(s.message[0]); {
	case typ == keyUpdate && length != 1: // RFC 8446, section 4.6.3
		return refuse(DecodeError, "its KeyUpdate has a wrong length")
	case typ == keyUpdate:
	case typ == newSessionTicket && s.has(client): // RFC 8446, section 4.6.1: a server's
		if length == 0 || length > maxTicket {
			return refuse(DecodeError, "its session ticket has a wrong length")
		}
	default: // RFC 8446, section 4.6: there are no others, for nobody has offered post_handshake_auth
		return refuse(UnexpectedMessage, "its handshake message has no place after the handshake")
	}
	s.left = length
	return nil
}

// keyUpdate changes the key of what comes in (RFC 8446, section 4.6.3). However often the peer asks, one answer is owed.
func (s *State) keyUpdate(c *Cache, request byte) *Alert {
	if request != updateNotRequested && request != updateRequested {
		return refuse(IllegalParameter, "its KeyUpdate asks for something unknown")
	}
	s.have, s.left = 0, 0
	s.in.update(c, s.suite)
	if request == updateRequested {
		s.flags |= answer
	}
	return nil
}

// renegotiation refuses the only thing that a handshake message of TLS 1.2 can be for after the handshake
// (RFC 5246, sections 7.4.1.1 and 7.4.1.2).
func (s *State) renegotiation(b []byte) *Alert {
	asks := clientHello
	if s.has(client) {
		asks = helloRequest
	}
	if len(b) > 0 && messageType(b[0]) == asks {
		return refuse(NoRenegotiation, "it asks for a renegotiation, which there is not: let the peer open a new connection")
	}
	return refuse(UnexpectedMessage, "its handshake message has no place after the handshake")
}
