package broker

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// pahoClient connects a client of MQTT 5 whose messages go to a channel.
func pahoClient(t *testing.T, n *node, id string) (*paho.Client, <-chan *paho.Publish) {
	t.Helper()
	got := make(chan *paho.Publish, 1000)
	c := paho.NewClient(paho.ClientConfig{
		Conn: n.dial(t),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			got <- p.Packet
			return true, nil
		}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ack, err := c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 30})
	if err != nil || ack.ReasonCode != 0 {
		t.Fatalf("connect: %v, %+v", err, ack)
	}
	t.Cleanup(func() { c.Disconnect(&paho.Disconnect{}); <-c.Done() })
	return c, got
}

// TestPaho: request and response between two clients of eclipse/paho.golang, with every QoS.
func TestPaho(t *testing.T) {
	n := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, requests := pahoClient(t, n, "server")
	asker, answers := pahoClient(t, n, "asker")
	for _, c := range []struct {
		c      *paho.Client
		filter string
	}{{server, "request/+"}, {asker, "answer/#"}} {
		if _, err := c.c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: c.filter, QoS: 2}}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		qos := byte(i % 3)
		if _, err := asker.Publish(ctx, &paho.Publish{Topic: "request/x", QoS: qos, Payload: fmt.Append(nil, i), Properties: &paho.PublishProperties{
			ResponseTopic: "answer/asker", CorrelationData: []byte{byte(i)}, User: paho.UserProperties{{Key: "n", Value: fmt.Sprint(i)}},
		}}); err != nil {
			t.Fatal(err)
		}
		request := recv(t, requests)
		if request.QoS != qos || request.Properties.User.Get("n") != fmt.Sprint(i) {
			t.Fatalf("%+v", request)
		}
		if _, err := server.Publish(ctx, &paho.Publish{Topic: request.Properties.ResponseTopic, QoS: qos, Payload: request.Payload,
			Properties: &paho.PublishProperties{CorrelationData: request.Properties.CorrelationData}}); err != nil {
			t.Fatal(err)
		}
		answer := recv(t, answers)
		if string(answer.Payload) != fmt.Sprint(i) || answer.Properties.CorrelationData[0] != byte(i) {
			t.Fatalf("%+v", answer)
		}
	}
}

func recv[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// TestPaho3: clients of eclipse/paho.mqtt.golang, MQTT 3.1 and 3.1.1.
func TestPaho3(t *testing.T) {
	n := start(t, nil)
	for _, version := range []uint{3, 4} {
		o := mqtt3.NewClientOptions().AddBroker("tcp://"+n.Addr("mqtt").String()).SetClientID(fmt.Sprint("v", version)).
			SetProtocolVersion(version).SetAutoReconnect(false).SetWill("will", "gone", 1, false)
		c := mqtt3.NewClient(o)
		done := func(token mqtt3.Token) {
			t.Helper()
			if !token.WaitTimeout(patience) || token.Error() != nil {
				t.Fatal(token.Error())
			}
		}
		done(c.Connect())
		got := make(chan mqtt3.Message, 100)
		done(c.Subscribe("a/#", 2, func(_ mqtt3.Client, m mqtt3.Message) { got <- m }))
		for i := range 30 {
			done(c.Publish("a/b", byte(i%3), false, fmt.Sprint(i)))
			if m := recv(t, got); string(m.Payload()) != fmt.Sprint(i) || m.Qos() != byte(i%3) {
				t.Fatalf("%s with QoS %d instead of %d", m.Payload(), m.Qos(), i)
			}
		}
		done(c.Unsubscribe("a/#"))
		c.Disconnect(1000)
	}
	until(t, "all have gone", func() bool { return n.Stats().Connections == 0 })
}

// mosquitto runs one of mosquitto's clients against the node.
func mosquitto(t *testing.T, n *node, program string, args ...string) *exec.Cmd {
	t.Helper()
	path := peertest.Path(t, program, "mosquitto-clients")
	host, port, err := net.SplitHostPort(n.Addr("mqtt").String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, append([]string{"-h", host, "-p", port}, args...)...)
}

// TestMosquitto: mosquitto_sub hears what mosquitto_pub says, in each version and QoS; then a retained message,
// a queue, and a will.
func TestMosquitto(t *testing.T) {
	n := start(t, nil)
	for _, v := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for _, qos := range []string{"0", "1", "2"} {
			t.Run(v+" QoS "+qos, func(t *testing.T) {
				var heard bytes.Buffer
				sub := mosquitto(t, n, "mosquitto_sub", "-V", v, "-q", qos, "-t", "a/+", "-C", "3", "-F", "%t %q %p", "-i", "sub")
				sub.Stdout, sub.Stderr = &heard, &heard
				if err := sub.Start(); err != nil {
					t.Fatal(err)
				}
				until(t, "it has subscribed", func() bool { return n.Stats().Subscriptions == 1 })
				for _, text := range []string{"one", "two", "three"} {
					if out, err := mosquitto(t, n, "mosquitto_pub", "-V", v, "-q", qos, "-t", "a/b", "-m", text).CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
				}
				if err := sub.Wait(); err != nil {
					t.Fatalf("%v: %s", err, heard.String())
				}
				if want := strings.ReplaceAll("a/b Q one\na/b Q two\na/b Q three\n", "Q", qos); heard.String() != want {
					t.Errorf("heard %q, want %q", heard.String(), want)
				}
				until(t, "all have gone", func() bool { return n.Stats().Connections == 0 })
			})
		}
	}
}

// TestMosquittoProperties: what MQTT 5 adds, as mosquitto's clients send and show it.
func TestMosquittoProperties(t *testing.T) {
	n := start(t, nil)
	if out, err := mosquitto(t, n, "mosquitto_pub", "-V", "5", "-t", "a", "-m", "x", "-q", "1", "-r",
		"-D", "PUBLISH", "content-type", "text/plain", "-D", "PUBLISH", "response-topic", "r", "-D", "PUBLISH", "user-property", "k", "v",
		"-D", "PUBLISH", "message-expiry-interval", "1000").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := mosquitto(t, n, "mosquitto_sub", "-V", "5", "-t", "a", "-C", "1", "-q", "2", "-F", "%C|%R|%P|%r|%p").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "text/plain|r|k:v|1|x" {
		t.Errorf("%v: %s", err, out)
	}
}

// TestMosquittoOffline: mosquitto_sub with a session of its own gets what was published while it was away.
func TestMosquittoOffline(t *testing.T) {
	n := start(t, nil)
	first := mosquitto(t, n, "mosquitto_sub", "-V", "311", "-i", "keeper", "-c", "-q", "2", "-t", "a", "-E")
	if out, err := first.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.waitAway(t, "keeper")
	p := n.join(t, packet.V5, "p")
	var want []string
	for i := range 100 {
		p.say("a", fmt.Sprint(i), 2) // of two QoS the client itself would change the order
		want = append(want, fmt.Sprint(i))
	}
	out, err := mosquitto(t, n, "mosquitto_sub", "-V", "311", "-i", "keeper", "-c", "-q", "2", "-t", "a", "-C", "100").CombinedOutput()
	if err != nil || !slices.Equal(strings.Fields(string(out)), want) {
		t.Errorf("%v: %s", err, out)
	}
}
