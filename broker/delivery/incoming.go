package delivery

// Incoming remembers which messages of QoS 2 from one client were passed on and wait for their PUBREL: the
// identifiers, as in the second method of section 4.3.3. The zero value remembers none. It
// holds at most the 65,535 that exist.
type Incoming struct{ ids map[uint16]struct{} }

// Receive notes a PUBLISH. It is false for one that was there already, whatever its DUP flag
// says: it is acknowledged, but not passed on again [MQTT-4.3.3-10].
func (in *Incoming) Receive(id uint16) (first bool) {
	if _, again := in.ids[id]; again {
		return false
	}
	if in.ids == nil {
		in.ids = make(map[uint16]struct{})
	}
	in.ids[id] = struct{}{}
	return true
}

// Release handles a PUBREL: the identifier is free again [MQTT-4.3.3-12]. It is false for one that no
// message has.
func (in *Incoming) Release(id uint16) bool {
	if _, known := in.ids[id]; !known {
		return false
	}
	delete(in.ids, id)
	if len(in.ids) == 0 {
		in.ids = nil
	}
	return true
}

// Len returns how many messages wait for their PUBREL.
func (in *Incoming) Len() int { return len(in.ids) }
