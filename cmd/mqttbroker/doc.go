// Command mqttbroker is one MQTT broker node.
//
//	mqttbroker run                        # MQTT on port 1883, everything else by default
//	mqttbroker check -c mqttbroker.yaml
//	mqttbroker run -c mqttbroker.yaml
//	kill -HUP PID                         # who may do what is read again; saving the files does the same
//
// Invariants: what check finds, run refuses, in the same words; a reload is all or nothing, and what it does not apply stands in the
// log; a token is in no error and no log; when run returns, no goroutine of the node, of its pages or of a watcher is left.
//
// # Why
//
// The configuration and the files that it names have a watcher each: that of the configuration is made before anything is read and stays, that of
// the users and ACL files is made anew when the configuration names others, before those are read. So no change falls between reading and
// watching, and a file that is mended is noticed after a reload that was refused because of it.
//
// A reload that finds another token says that it waits for a restart instead of taking it: the pages of the node have theirs for as long as they
// are open, and a browser that has signed in with the old one stays signed in until then either way.
//
// An arrival of devices makes garbage many times as large as what their sessions need afterwards, which is why the heap is not left to
// itself: memory.go has the figures.
package main
