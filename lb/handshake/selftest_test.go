package handshake

import (
	"testing"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

func TestSelfTest(t *testing.T) {
	leaktest.Check(t)
	if err := SelfTest(t.Context()); err != nil {
		t.Fatal(err)
	}
}
