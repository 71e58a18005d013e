package wire

import "time"

// A tick is the time of a loop in 128ths of a second, as its timers count, modulo 2³²: 388 days. Differences are right for
// spans below that.
type tick uint32

const tickLength = time.Second / 128

// ticks rounds a duration up.
func ticks(d time.Duration) tick { return tick((d + tickLength - 1) / tickLength) }

func (t tick) duration() time.Duration { return time.Duration(t) * tickLength }
