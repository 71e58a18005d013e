package route

import (
	"slices"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
)

func TestWanted(t *testing.T) {
	table := New[*sub]()
	s := subs(2)
	want := map[string]Want{"a/b": {QoS: 1}, "a/+": {QoS: 2, ID: 3}, "#": {NoLocal: true}, "$share/g/a/+": {QoS: 1, ID: 9}, "$share/h/a/+": {}}
	var filters Filters
	for filter, w := range want {
		if _, _, err := table.Subscribe(s[0], filter, w, 0); err != nil {
			t.Fatal(err)
		}
		filters.Add(filter)
	}
	if got := slices.Collect(filters.All()); len(got) != len(want) || filters.Len() != len(want) {
		t.Errorf("%d filters: %q", filters.Len(), got)
	}
	for filter := range filters.All() {
		if w, ok := table.Wanted(s[0], filter); !ok || w != want[filter] {
			t.Errorf("%s: %+v, %v", filter, w, ok)
		}
		if w, ok := table.Wanted(s[1], filter); ok {
			t.Errorf("%s: %+v of somebody else", filter, w)
		}
	}
	for _, filter := range []string{"a", "a/#", "$share/g/a", "$share/k/a/+", "$share/", "a+", ""} {
		if w, ok := table.Wanted(s[0], filter); ok {
			t.Errorf("%s: %+v", filter, w)
		}
	}
	table.Forget(s[0], filters)
	for filter := range want {
		if _, ok := table.Wanted(s[0], filter); ok {
			t.Errorf("%s is still there", filter)
		}
	}
	for range filters.All() { // may be left
		break
	}
}

func TestRetainedAndDelete(t *testing.T) {
	table := New[*sub]()
	now := time.Now()
	for _, topic := range []string{"a/1", "a/2", "b", "$SYS/x"} {
		publish(table, &delivery.Message{Topic: topic, Payload: []byte("x"), Retain: true})
	}
	for _, topic := range []string{"a/3", "a/4"} {
		publish(table, &delivery.Message{Topic: topic, Payload: []byte("x"), Retain: true, Expires: now.Add(time.Hour)})
	}
	for _, tt := range []struct {
		filter string
		limit  int
		after  time.Duration
		want   int
		more   bool
	}{
		{"#", 9, 0, 5, false},
		{"#", 9, time.Hour, 3, false},
		{"a/+", 4, 0, 4, false},
		{"a/+", 3, 0, 3, true},
		{"a/+", 2, time.Hour, 2, false}, // those that have expired are not more
		{"$SYS/#", 9, 0, 1, false},
		{"b", 0, 0, 0, true},
		{"$share/g/#", 9, 0, 0, false},
	} {
		list, more, err := table.Retained(tt.filter, tt.limit, now.Add(tt.after))
		if len(list) != tt.want || more != tt.more || err != nil {
			t.Errorf("%s, %d, in %v: %d, %v, %v", tt.filter, tt.limit, tt.after, len(list), more, err)
		}
	}
	if _, _, err := table.Retained("a#", 1, now); err == nil {
		t.Error("a broken filter is taken")
	}
	for _, topic := range []string{"a/1", "a/3"} {
		if !table.DeleteRetained(topic) || table.DeleteRetained(topic) {
			t.Errorf("%s: DeleteRetained does not tell whether there was one", topic)
		}
	}
	if table.expiring != 1 {
		t.Errorf("%d expiring, want 1", table.expiring)
	}
	if table.DeleteRetained("a") || table.DeleteRetained("") {
		t.Error("there was one where there is none")
	}
	if _, retained := table.Size(); retained != 4 {
		t.Errorf("%d are left, want 4", retained)
	}
}
