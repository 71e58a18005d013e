// Command mqttbench drives MQTT load, measures what the program under test spends on it, and compares load balancers.
//
//	mqttbench broker --listen 127.0.0.1:1883                         # a node that answers at once
//	mqttbench idle --target 127.0.0.1:8883 --ca ca.pem --connections 8000 --pid 4711
//	mqttbench echo --target 127.0.0.1:8883 --ca ca.pem --connections 200 --pid 4711
//	mqttbench connect --target 127.0.0.1:8883 --ca ca.pem --resume --pid 4711
//	mqttbench compare --out performance.md                           # HAProxy, nginx and mqttlb, one after the other
package main
