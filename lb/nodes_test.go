package lb_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	brokerconfig "github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// startBroker runs a broker node of this project that requires the PROXY header; it returns it with its address.
func startBroker(t *testing.T, name string) (*broker.Broker, string) {
	t.Helper()
	cfg := brokerconfig.Default()
	cfg.Node = name
	cfg.API.Listen, cfg.Dashboard.Listen = "", ""
	cfg.Listeners = []brokerconfig.Listener{{Name: "mqtt", Listen: "127.0.0.1:0", ProxyProtocol: brokerconfig.ProxyRequire}}
	b, err := broker.New(broker.Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the node ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the node did not end")
		}
	})
	return b, b.Addr("mqtt").String()
}

// Both halves of the project together, for a client that knows neither.
func TestMosquittoClientsOnOurNodes(t *testing.T) {
	leaktest.Check(t)
	_, a := startBroker(t, "emqx1")
	_, b := startBroker(t, "emqx2")
	r := newRig(t)
	r.run(config("    send_proxy: v2\n    check: {type: mqtt, interval: 1s}\n" +
		fmt.Sprintf("    servers: [{name: emqx1, address: %q}, {name: emqx2, address: %q}]\n", a, b)))
	eventually(t, "a full MQTT check of both", func() bool {
		return r.server("emqx1").Checks["passed"] > 0 && r.server("emqx2").Checks["passed"] > 0
	})
	r.exchange(t)
}

func TestNodesKnowTheClientsAddress(t *testing.T) {
	leaktest.Check(t)
	node, address := startBroker(t, "emqx1")
	r := newRig(t)
	r.run(config(fmt.Sprintf("    send_proxy: v2\n    servers: [{name: emqx1, address: %q}]\n", address)))
	c := r.dialFrom("mqtt", "127.0.0.77")
	send(t, c, connectPacket)
	expect(t, c, connack)
	clients, _ := node.Clients(broker.ClientQuery{})
	if len(clients) != 1 || clients[0].ID != "device" || clients[0].Addr.String() != c.LocalAddr().String() {
		t.Errorf("the node knows %+v, the client is device at %v", clients, c.LocalAddr())
	}
}
