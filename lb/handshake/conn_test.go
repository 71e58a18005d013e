package handshake

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// What TLS writes on its own behalf, in the middle of a Read, has a deadline, and is not failed by one that has passed.
func TestTLSAnswersHaveADeadline(t *testing.T) {
	deadlines := map[string]func(*conn){
		"none":   func(*conn) {},
		"lifted": func(c *conn) { c.SetDeadline(time.Now().Add(time.Second)); c.SetDeadline(time.Time{}) },
		"passed": func(c *conn) { c.SetWriteDeadline(time.Now().Add(-time.Second)) },
	}
	for name, set := range deadlines {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				c := &conn{Conn: near}
				defer c.Close()
				set(c)
				begun := time.Now()
				if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != answerTimeout {
					t.Errorf("a client that takes nothing: %v after %v, want a timeout after %v", err, time.Since(begun), answerTimeout)
				}
			})
		})
	}
}

// A deadline that the owner has set counts, and no further write is waited for after it.
func TestOwnersDeadlineCounts(t *testing.T) {
	for name, set := range map[string]func(*conn, time.Time){
		"for writing": func(c *conn, by time.Time) { c.SetWriteDeadline(by) },
		"for all":     func(c *conn, by time.Time) { c.SetDeadline(by) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				c := &conn{Conn: near}
				defer c.Close()
				set(c, time.Now().Add(time.Second))
				begun := time.Now()
				for range 2 { // the second is the alert that crypto/tls sends
					if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != time.Second {
						t.Errorf("%v after %v, want a timeout after a second", err, time.Since(begun))
					}
				}
			})
		})
	}
}
