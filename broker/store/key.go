package store

import (
	"crypto/sha256"
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// The file has these buckets. Numbers in keys have eight bytes, the highest first, so that they are in order:
//
//	about      "format" → the version of all this, four bytes
//	sessions   session
//	filters    session, name of the filter
//	incoming   session, packet identifier (two bytes)
//	queue      session, position
//	bodies     number
//	retained   name of the topic
//
// How often a body is wanted is nowhere in the file: it is how many records of the queue name it.
var bucketNames = [...]string{"about", "sessions", "filters", "incoming", "queue", "bodies", "retained"}

// format is the version of what is in the file.
const format = 1

var formatKey = []byte("format")

const (
	numberKey   = 8
	incomingKey = numberKey + 2
	queueKey    = 2 * numberKey
)

// longestName is how many bytes of a filter or topic a key may have: a page is to have room for several, and bbolt
// has a limit of 32 kB where MQTT has one of 64.
const longestName = 255

// buckets are those of one transaction.
type buckets struct {
	sessions, filters, incoming, queue, bodies, retained *bbolt.Bucket
}

// fill is how full pages are made when one is split. What is inserted comes behind what is there already, in
// the whole bucket or in the part of a session, so that the room left in the middle stays empty.
const fill = 0.9

// open finds the buckets; nil when one is not there.
func open(tx *bbolt.Tx) *buckets {
	b := new(buckets)
	for i, p := range []**bbolt.Bucket{&b.sessions, &b.filters, &b.incoming, &b.queue, &b.bodies, &b.retained} {
		if *p = tx.Bucket([]byte(bucketNames[i+1])); *p == nil {
			return nil
		}
	}
	b.queue.FillPercent, b.bodies.FillPercent = fill, fill
	return b
}

func appendNumber(dst []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(dst, n) }

func numberOf(key []byte) uint64 { return binary.BigEndian.Uint64(key) }

// appendName appends what a filter or a topic is called in a key: itself, or if it is long a hash after a zero,
// which no string of MQTT holds [MQTT-1.5.4-2].
func appendName(dst []byte, name string) []byte {
	if len(name) <= longestName {
		return append(dst, name...)
	}
	sum := sha256.Sum256([]byte(name))
	return append(append(dst, 0), sum[:]...)
}
