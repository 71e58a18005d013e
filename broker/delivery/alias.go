package delivery

// Aliases are the numbers that stand for topics on one connection to a client, which are ours to give (MQTT 5 section
// 3.3.2.3.4). They are given to the first topics that come: a device hears few. One goroutine uses them; they end with the
// connection [MQTT-3.3.2-7].
type Aliases struct {
	most int
	by   map[string]uint16
}

// NewAliases returns those of a client that takes numbers up to most [MQTT-3.3.2-10] [MQTT-3.3.2-11]; nil when it takes none.
func NewAliases(most int) *Aliases {
	if most <= 0 {
		return nil
	}
	return &Aliases{most: most}
}

// of returns the number of a topic, and whether the client knows it already; 0 when there is none to give.
func (a *Aliases) of(topic string) (alias uint16, known bool) {
	if alias, known = a.by[topic]; known {
		return alias, true
	}
	if len(a.by) >= a.most || len(topic) < worthAlias {
		return 0, false
	}
	if a.by == nil {
		a.by = make(map[string]uint16)
	}
	alias = uint16(len(a.by) + 1)
	a.by[topic] = alias
	return alias, false
}

// worthAlias is the length of the shortest topics that are given a number, in bytes: the property takes three.
const worthAlias = 4
