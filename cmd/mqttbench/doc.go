// Command mqttbench drives MQTT load, measures what the program under test spends on it, and compares load balancers, and brokers.
//
//	mqttbench broker --listen 127.0.0.1:1883                         # a node that answers at once
//	mqttbench idle --target 127.0.0.1:8883 --ca ca.pem --connections 8000 --pid 4711
//	mqttbench echo --target 127.0.0.1:8883 --ca ca.pem --connections 200 --pid 4711
//	mqttbench connect --target 127.0.0.1:8883 --ca ca.pem --resume --pid 4711
//	mqttbench compare --out performance.md                           # HAProxy, nginx and mqttlb, one after the other
//
// Brokers are measured without TLS and without anything between:
//
//	mqttbench idle --target 127.0.0.1:1883 --tls none --connections 10000 --subscribe --pid 4711
//	mqttbench fanout --target 127.0.0.1:1883 --tls none --connections 1000 --qos 1 --size 128 --pid 4711
//	mqttbench pairs --target 127.0.0.1:1883 --tls none --connections 200 --pid 4711
//	mqttbench brokers --out brokers.md                               # mosquitto and mqttbroker, one after the other
package main
