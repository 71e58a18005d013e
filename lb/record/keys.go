package record

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrUnsupported is KeyLog.State's error for cipher suites without AEAD, and for versions before TLS 1.2: such a connection stays
// with crypto/tls.
var ErrUnsupported = errors.New("no AEAD cipher suite of TLS 1.2 or 1.3")

// A KeyLog takes the keys of one connection from crypto/tls: it is the KeyLogWriter of a tls.Config that no other connection uses.
// The zero KeyLog is ready. Write, Save and Load are called by the handshake, State and Wipe after it.
//
// Of a resumed handshake of TLS 1.2 crypto/tls logs nothing. A server whose clients resume sessions has to call Save and Load.
type KeyLog struct {
	random         [32]byte // of the ClientHello
	client, server secret   // TLS 1.3: the first that protect application data
	master         secret   // TLS 1.2
	resumed        secret   // TLS 1.2: of the session that the client offers
}

// A secret is one that keys are made of.
type secret struct {
	bytes [maxSecret]byte
	size  uint8
}

// The labels of the lines that count (RFC 9850, section 2).
const (
	labelMaster = "CLIENT_RANDOM"
	labelClient = "CLIENT_TRAFFIC_SECRET_0"
	labelServer = "SERVER_TRAFFIC_SECRET_0"
)

// Write takes one line: label, random of the ClientHello, secret, the latter two in hexadecimal. Lines with other labels are ignored.
// It fails for lines of a second connection, whose handshake then fails.
func (k *KeyLog) Write(line []byte) (int, error) {
	label, rest, _ := bytes.Cut(bytes.TrimRight(line, "\n"), []byte{' '})
	var dst *secret
	switch string(label) {
	case labelMaster:
		dst = &k.master
	case labelClient:
		dst = &k.client
	case labelServer:
		dst = &k.server
	default:
		return len(line), nil
	}
	random, value, _ := bytes.Cut(rest, []byte{' '})
	var of [32]byte
	if len(random) != 2*len(of) || len(value) > 2*len(dst.bytes) {
		return 0, fmt.Errorf("take a key log's line %s: its fields have a wrong length", label)
	}
	if _, err := hex.Decode(of[:], random); err != nil {
		return 0, fmt.Errorf("take a key log's line %s: its random is not hexadecimal", label)
	}
	if dst.size > 0 || k.client.size+k.server.size+k.master.size > 0 && of != k.random {
		return 0, fmt.Errorf("take a key log's line %s: it is of another connection; give each a tls.Config of its own", label)
	}
	n, err := hex.Decode(dst.bytes[:], value)
	if err != nil {
		return 0, fmt.Errorf("take a key log's line %s: its secret is not hexadecimal", label)
	}
	k.random, dst.size = of, uint8(n)
	return len(line), nil
}

// extraLabel is in front of the master secret in a session's Extra.
const extraLabel = "mqttlb record, master secret of TLS 1.2: "

// Save adds the master secret of TLS 1.2 to what is about to become a session ticket: for tls.Config.WrapSession, before EncryptTicket.
// The ticket has that secret anyway, in a form that is crypto/tls's own.
func (k *KeyLog) Save(state tls.ConnectionState, session *tls.SessionState) {
	s := &k.master
	if state.DidResume {
		s = &k.resumed
	}
	if state.Version == tls.VersionTLS12 && s.size == maxSecret {
		session.Extra = append(session.Extra, append([]byte(extraLabel), s.bytes[:]...))
	}
}

// Load takes what Save has added from a session: for tls.Config.UnwrapSession, after DecryptTicket. The handshake may still
// turn out not to resume it.
func (k *KeyLog) Load(session *tls.SessionState) {
	for _, extra := range session.Extra {
		if s, ours := bytes.CutPrefix(extra, []byte(extraLabel)); ours && len(s) == maxSecret {
			k.resumed.size = uint8(copy(k.resumed.bytes[:], s))
		}
	}
}

// Wipe overwrites the keys.
func (k *KeyLog) Wipe() { *k = KeyLog{} }

// A Handshake says what State must know of a handshake beside its keys.
type Handshake struct {
	Version, Suite uint16   // as in tls.ConnectionState
	Client         bool     // we are the client
	ServerRandom   [32]byte // of the ServerHello; for TLS 1.2 alone

	// Of a session that is resumed, as in tls.ConnectionState, and then for TLS 1.2 the random of the ClientHello as well.
	Resumed      bool
	ClientRandom [32]byte

	// Records that crypto/tls has sent and read under the keys of application data; for TLS 1.3 alone. A server has sent its session
	// tickets, one a record unless they are larger than MaxPlaintext, and read none.
	Written, Read uint64
}

// State makes the State of a connection whose handshake is complete: both Finished are exchanged, and crypto/tls has read nothing
// behind it but what h counts. The KeyLog keeps its keys until Wipe. It fails with ErrUnsupported, or because the log
// lacks what the version needs: such as for a session of TLS 1.2 whose ticket was made without Save. The connection can then
// stay with crypto/tls as well.
func (k *KeyLog) State(h Handshake) (State, error) {
	u := suiteOf(h.Version, h.Suite)
	if u == 0 {
		return State{}, fmt.Errorf("take over from crypto/tls with %s of %s: %w", tls.CipherSuiteName(h.Suite), tls.VersionName(h.Version), ErrUnsupported)
	}
	s := State{suite: u}
	if h.Client {
		s.flags |= client
	}
	var err error
	if h.Version == tls.VersionTLS13 {
		err = k.schedule(&s, h)
	} else {
		err = k.expand(&s, h)
	}
	if err != nil {
		return State{}, fmt.Errorf("take over from crypto/tls: %w", err)
	}
	return s, nil
}

var errNoSecret = errors.New("the key log lacks the secrets of the handshake; it must be the KeyLogWriter of the connection's own tls.Config, and called when tickets are made and used")

// ways returns the direction that the client sends in, and the server's.
func (s *State) ways() (fromClient, fromServer *direction) {
	if s.has(client) {
		return &s.out, &s.in
	}
	return &s.in, &s.out
}

// schedule takes the secrets of TLS 1.3 (RFC 8446, section 7.1).
func (k *KeyLog) schedule(s *State, h Handshake) error {
	if size := s.suite.hashSize(); int(k.client.size) != size || int(k.server.size) != size {
		return errNoSecret
	}
	s.flags |= tls13
	fromClient, fromServer := s.ways()
	fromClient.secret, fromServer.secret = k.client.bytes, k.server.bytes
	s.in.seq, s.out.seq = h.Read, h.Written
	return nil
}

// expand makes the keys of TLS 1.2 (RFC 5246, section 6.3): without MAC keys, those of client and server, then their IVs, of which
// AES-GCM takes four bytes each (RFC 5288, section 3) and ChaCha20-Poly1305 twelve (RFC 7905, section 2). Record 0 of both
// was Finished (RFC 5246, section 7.1).
func (k *KeyLog) expand(s *State, h Handshake) error {
	master, random := &k.master, k.random
	if h.Resumed {
		master, random = &k.resumed, h.ClientRandom
	}
	if master.size != maxSecret {
		return errNoSecret
	}
	var block [2*maxKey + 2*nonceSize]byte
	key, iv := s.suite.keySize(), nonceSize-s.explicit()
	seed := append(h.ServerRandom[:], random[:]...)
	s.suite.fill(block[:2*key+2*iv], master.bytes[:], "key expansion", seed)
	next := block[:]
	take := func(dst []byte) { next = next[copy(dst, next):] }
	fromClient, fromServer := s.ways()
	take(fromClient.secret[:key])
	take(fromServer.secret[:key])
	take(fromClient.secret[maxKey : maxKey+iv])
	take(fromServer.secret[maxKey : maxKey+iv])
	clear(block[:])
	fromClient.seq, fromServer.seq = 1, 1
	return nil
}
