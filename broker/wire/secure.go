//go:build linux

package wire

import (
	"errors"

	"github.com/mqttlb/mqttlb/broker/websocket"
	"github.com/mqttlb/mqttlb/internal/overflow"
	"github.com/mqttlb/mqttlb/lb/record"
)

// secure is what a connection with TLS has beside.
type secure struct {
	state record.State
	raw   overflow.Handle // the beginning of a record
	bye   bool            // close_notify was sent
}

// unseal opens every whole record in buf, in place, and keeps the beginning of another. What they carry is data, without gaps.
func (l *loop) unseal(c *Conn, buf []byte) (data []byte, over bool, err error) {
	s := c.secure
	l.sweepSoon()
	for len(buf) > 0 && !over {
		o, err := s.state.Open(l.ciphers, buf)
		if err != nil {
			return data, false, err
		}
		if o.Used == 0 {
			s.raw = l.held.Keep(buf)
			break
		}
		if data == nil {
			data = o.Data
		} else {
			data = append(data, o.Data...) // never reaches what is not opened
		}
		buf, over = buf[o.Used:], o.Close
	}
	return data, over, nil
}

// refuseRecord ends a connection whose record cannot be right, and says so unless the client has said it first.
func (l *loop) refuseRecord(c *Conn, err error) {
	var alert *record.Alert
	if errors.As(err, &alert) && !alert.Remote && c.unsent == 0 {
		c.secure.bye = true
		if !l.put(c, c.secure.state.AppendAlert(l.ciphers, nil, alert.Code)) {
			return
		}
	}
	l.fail(c, err)
}

// sendSealed sends out[from:] as records.
func (l *loop) sendSealed(c *Conn, out []byte, from int) bool {
	s := &c.secure.state
	l.sweepSoon()
	if s.Owes() && !l.put(c, s.AppendOwed(l.ciphers, nil)) {
		return false
	}
	n := len(out) - from
	if n <= record.MaxPlaintext && cap(out)-len(out) >= record.MaxOverhead {
		return l.put(c, s.Seal(l.ciphers, out[from-s.Prefix():], n))
	}
	if l.sealed == nil {
		l.sealed = make([]byte, record.MaxPlaintext+record.MaxOverhead)
	}
	for from < len(out) {
		if s.Owes() && !l.put(c, s.AppendOwed(l.ciphers, nil)) {
			return false
		}
		n := copy(l.sealed[s.Prefix():s.Prefix()+record.MaxPlaintext], out[from:])
		from += n
		if !l.put(c, s.Seal(l.ciphers, l.sealed, n)) {
			return false
		}
	}
	return true
}

// lastWords ends the frames of a WebSocket, and the records of TLS (RFC 8446, section 6.1). It is false when the connection is over.
func (l *loop) lastWords(c *Conn) bool {
	if c.frames != nil && !c.frames.bye {
		frame := websocket.AppendClose(l.controls(), websocket.StatusNormal)
		if !l.control(c, frame, true) {
			return false
		}
	}
	if c.secure != nil && !c.secure.bye {
		c.secure.bye = true
		return l.put(c, c.secure.state.AppendAlert(l.ciphers, nil, record.CloseNotify))
	}
	return true
}

// controls is room for a frame that is not data, behind headroom.
func (l *loop) controls() []byte {
	if l.aside == nil {
		l.aside = make([]byte, headroom, headroom+controlRoom+record.MaxOverhead)
	}
	return l.aside[:headroom]
}

// control sends frame[headroom:], which is not data. What answers a client that does not read is left out: nobody can make us hold
// pongs. It is false when the connection is over.
func (l *loop) control(c *Conn, frame []byte, last bool) bool {
	if c.stage > ending || c.frames.bye || c.unsent != 0 && !last {
		return c.stage < lingering
	}
	c.frames.bye = last
	if c.secure == nil {
		return l.put(c, frame[headroom:])
	}
	return l.sendSealed(c, frame, headroom)
}
