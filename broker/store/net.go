package store

import (
	"cmp"
	"slices"
)

// net leaves, of all that was asked for, what is to be done: one operation for each record, in the order of the keys.
func (b *batch) net() {
	b.netSessions()
	b.netFilters()
	b.netIncoming()
	b.netQueue()
	slices.SortFunc(b.retained, func(x, y retainedOp) int {
		return cmp.Or(cmp.Compare(x.topic, y.topic), cmp.Compare(x.at, y.at))
	})
	b.retained = lasts(b.retained, func(x, y *retainedOp) bool { return x.topic == y.topic })
}

// netSessions also notes who is deleted.
func (b *batch) netSessions() {
	slices.SortFunc(b.sessions, func(x, y sessionOp) int {
		return cmp.Or(cmp.Compare(x.session.Number, y.session.Number), cmp.Compare(x.at, y.at))
	})
	for _, o := range b.sessions {
		if !o.remove {
			continue
		}
		d := deletion{o.session.Number, o.at}
		if n := len(b.deleted); n > 0 && b.deleted[n-1].number == d.number {
			b.deleted[n-1] = d
		} else {
			b.deleted = append(b.deleted, d)
		}
	}
	b.sessions = lasts(b.sessions, func(x, y *sessionOp) bool { return x.session.Number == y.session.Number })
}

// dead reports whether an operation is void, because its session was deleted after it.
func (b *batch) dead(session uint64, at uint32) bool {
	i, found := slices.BinarySearchFunc(b.deleted, session, func(d deletion, n uint64) int { return cmp.Compare(d.number, n) })
	return found && at < b.deleted[i].at
}

func (b *batch) netFilters() {
	b.filters = slices.DeleteFunc(b.filters, func(o filterOp) bool { return b.dead(o.session, o.at) })
	slices.SortFunc(b.filters, func(x, y filterOp) int {
		return cmp.Or(cmp.Compare(x.session, y.session), cmp.Compare(x.filter, y.filter), cmp.Compare(x.at, y.at))
	})
	b.filters = lasts(b.filters, func(x, y *filterOp) bool { return x.session == y.session && x.filter == y.filter })
}

func (b *batch) netIncoming() {
	b.incoming = slices.DeleteFunc(b.incoming, func(o incomingOp) bool { return b.dead(o.session, o.at) })
	slices.SortFunc(b.incoming, func(x, y incomingOp) int {
		return cmp.Or(cmp.Compare(x.session, y.session), cmp.Compare(x.id, y.id), cmp.Compare(x.at, y.at))
	})
	b.incoming = lasts(b.incoming, func(x, y *incomingOp) bool { return x.session == y.session && x.id == y.id })
}

// lasts keeps of neighbours that are the same the last one.
func lasts[T any](list []T, same func(x, y *T) bool) []T {
	n := 0
	for i := range list {
		if i+1 == len(list) || !same(&list[i], &list[i+1]) {
			list[n] = list[i]
			n++
		}
	}
	clear(list[n:])
	return list[:n]
}

// netQueue makes of the life of each message in this batch one operation, or none when all of it was in this batch.
func (b *batch) netQueue() {
	if len(b.deleted) > 0 {
		b.queue = slices.DeleteFunc(b.queue, func(o queueOp) bool { return b.dead(o.session, o.at) })
	}
	slices.SortFunc(b.queue, func(x, y queueOp) int {
		return cmp.Or(cmp.Compare(x.session, y.session), cmp.Compare(x.position, y.position), cmp.Compare(x.at, y.at))
	})
	n := 0
	for i := 0; i < len(b.queue); {
		o := b.queue[i]
		fresh, gone := o.kind == written, o.kind == removed
		for i++; i < len(b.queue) && b.queue[i].session == o.session && b.queue[i].position == o.position; i++ {
			next := &b.queue[i]
			gone = gone || next.kind == removed
			if next.id != 0 {
				o.id = next.id
			}
			o.released = o.released || next.released
		}
		switch {
		case fresh && gone:
			continue
		case gone:
			o.kind = removed
		}
		b.queue[n] = o
		n++
	}
	clear(b.queue[n:])
	b.queue = b.queue[:n]
}
