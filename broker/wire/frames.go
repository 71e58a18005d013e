package wire

// frames is what a connection has beside whose MQTT is in the frames of a WebSocket.
type frames struct {
	bye bool
}

func (f *frames) decode(b []byte) ([]byte, error) { return b, nil }
func (f *frames) answer() bool                    { return false }
func (f *frames) wrap(out []byte, at int) int     { return 0 }
func (f *frames) appendClose(dst []byte) []byte   { return dst }
