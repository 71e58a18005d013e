// Command quickstart shows the load balancer at work, on this machine alone: two broker nodes, mqttlb in front of them
// with a real configuration file, and six devices that come over TLS.
//
//	go run ./examples/quickstart          # a few seconds, then everything is gone again
//	go run ./examples/quickstart -stay    # the same, and then it stays up to play with, until Ctrl-C
//
// What it prints is the story whose steps are in chapters.go: certificates, nodes, load balancer, devices, a node that stops
// and returns, a third one that is added. Each step waits for what it announces, and checks it: the program ends with 0
// only when all of it came true, else with 1, the step, where to look, and the end of the log.
//
// Invariants: it uses 127.0.0.0/8 only, no fixed port but 8883 and 8404, or the next free ones; every
// wait has a deadline; what was started is stopped in the reverse order, and the folder is removed, however the story ends.
//
// # Why
//
// Nodes, load balancer and devices are goroutines of one process so that Go is all that is needed, but they meet on
// real sockets and through a real file only: nothing here could not be done with three machines. The nodes are
// asked whom they see, because only they can tell that a client's address has arrived. Devices use
// eclipse/paho.golang, so that somebody else's reading of MQTT takes part.
package main
