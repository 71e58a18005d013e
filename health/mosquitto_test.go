package health

import (
	"testing"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// TestMosquittoRefusesMQTTChecks: the reason is the broker's own.
func TestMosquittoRefusesMQTTChecks(t *testing.T) {
	leaktest.Check(t)
	broker := peertest.StartMosquitto(t, false)
	target := Target{Address: broker.Address, Check: Check{Timeout: patient}}
	wantResult(t, probe(target), Passed, "")
	target.Check.Type = MQTT
	wantResult(t, probe(target), Rejected, "CONNACK code 5 (not authorized)")
}
