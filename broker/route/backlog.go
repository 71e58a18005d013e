package route

// A Backlog is the retained messages that wait to be sent to one client, in their order. The zero value is empty and
// holds no memory; it belongs to whoever holds the session's lock.
type Backlog struct {
	items []Retained // those without a message were taken out of turn
	head  int        // of the first one within items

	// Where messages wait, for Take: made when it is first asked, forgotten with the next Push.
	first map[string]int // by topic, within items
	next  []int          // by place within items: the next place of the same topic; 0 = none
}

// Len returns how many places are taken: those of messages that Take has taken count until their turn would have come.
func (b *Backlog) Len() int { return len(b.items) - b.head }

// Push adds messages at the end.
func (b *Backlog) Push(list []Retained) {
	if len(list) == 0 {
		return
	}
	if b.head > len(b.items)/2 {
		n := copy(b.items, b.items[b.head:])
		clear(b.items[n:])
		b.items, b.head = b.items[:n], 0
	}
	b.items = append(b.items, list...)
	b.first, b.next = nil, nil
}

// First returns the message whose turn it is and leaves it where it is; false when there is none.
func (b *Backlog) First() (Retained, bool) {
	for b.head < len(b.items) {
		if r := b.items[b.head]; r.Message != nil {
			return r, true
		}
		b.head++
	}
	*b = Backlog{}
	return Retained{}, false
}

// Pop takes out the one that First has returned.
func (b *Backlog) Pop() {
	b.items[b.head] = Retained{} // let the message go
	b.head++
	if b.head == len(b.items) {
		*b = Backlog{}
	}
}

// Take takes out the messages of one topic, in their order and out of turn: a newer message of that topic
// is about to be sent, and the older ones come first [MQTT-4.6.0-5].
func (b *Backlog) Take(topic string) (list []Retained) {
	if b.Len() == 0 {
		return nil
	}
	if b.first == nil {
		b.index()
	}
	i, there := b.first[topic]
	delete(b.first, topic)
	for there {
		if i >= b.head && b.items[i].Message != nil {
			list = append(list, b.items[i])
			b.items[i] = Retained{}
		}
		i = b.next[i]
		there = i > 0
	}
	return list
}

func (b *Backlog) index() {
	b.first, b.next = make(map[string]int, b.Len()), make([]int, len(b.items))
	for i := len(b.items) - 1; i >= b.head; i-- {
		if m := b.items[i].Message; m != nil {
			b.next[i] = b.first[m.Topic]
			b.first[m.Topic] = i
		}
	}
}
