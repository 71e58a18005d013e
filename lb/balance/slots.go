package balance

// slotFiller computes HAProxy's map. The rule (recalc_server_map in src/lb_map.c): in each of
// total steps every member's score grows by its weight; the one with the highest score
// gets the slot and pays total. But the scores are compared after division by total, and
// among equals the first declared wins: the result is coarser than the smooth round robin it
// resembles.
//
// The score after t steps, divided by total, is floor(weight·t/total) - turns taken. So a
// member's level changes in few, known steps, and it is enough to keep the levels: each
// step takes the lowest position of the highest level. That makes the work proportional to the
// slots, and not to slots times members: 4,096 members of weights up to 256 would take seconds.
type slotFiller struct {
	weights []int // without common divisor
	total   int   // of the weights

	// earned[k] counts the steps in which floor(weight·t/total) grew. The next such step of each
	// member is in a calendar: first[t] is the first position whose turn is earned in step t,
	// next[k] the one after k in the same step.
	earned []int
	first  []int32
	next   []int32

	level  []int // of each position: 1 at the start, then + turns earned - turns taken
	levels []set // who is on which level; grows as needed
}

// fillSlots returns the member index of each slot for the usable candidates, of which there is at
// least one. Weights count without their common divisor, as in HAProxy (init_server_map); a map of multiples
// would only repeat itself.
func fillSlots(usable []candidate) []int32 {
	f := newSlotFiller(usable)
	slots := make([]int32, f.total)
	for t := 1; t <= f.total; t++ {
		for k := f.first[t]; k != none; {
			following := f.next[k]
			f.moveTo(int(k), f.level[k]+1)
			f.earned[k]++
			f.schedule(int(k))
			k = following
		}
		k := f.top()
		f.moveTo(k, f.level[k]-1)
		slots[t-1] = int32(usable[k].index)
	}
	return slots
}

func newSlotFiller(usable []candidate) *slotFiller {
	n := len(usable)
	divisor := 0
	for _, c := range usable {
		divisor = gcd(c.weight, divisor)
	}
	f := &slotFiller{weights: make([]int, n), earned: make([]int, n), next: make([]int32, n), level: make([]int, n)}
	for k, c := range usable {
		f.weights[k] = c.weight / divisor
		f.total += f.weights[k]
	}
	f.levels = []set{newSet(n), newSet(n)}
	f.first = make([]int32, f.total+1)
	for t := range f.first {
		f.first[t] = none
	}
	for k := range n {
		f.levels[0].add(k)
		f.moveTo(k, 1)
		f.schedule(k)
	}
	return f
}

// schedule enters in the calendar the first step t in which floor(weight·t/total) exceeds what
// position k has earned. It is always a later one than the last, because no weight exceeds the total.
func (f *slotFiller) schedule(k int) {
	w := f.weights[k]
	t := ((f.earned[k]+1)*f.total + w - 1) / w
	if t <= f.total {
		f.next[k], f.first[t] = f.first[t], int32(k)
	}
}

func (f *slotFiller) moveTo(k, level int) {
	f.levels[f.level[k]].remove(k)
	if level == len(f.levels) {
		f.levels = append(f.levels, newSet(len(f.weights)))
	}
	f.levels[level].add(k)
	f.level[k] = level
}

// top returns the lowest position of the highest level. That level is at least 1, because the levels
// add up to more than 0 in each step.
func (f *slotFiller) top() int {
	for level := len(f.levels) - 1; ; level-- {
		if k := f.levels[level].lowest(); k != none {
			return k
		}
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
