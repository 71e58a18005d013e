// Package program is what the commands of this repository have in common as programs: how they are called, what they say
// of themselves, how they take signals and what they tell systemd.
//
//	root := program.Root("mqttlb", "TLS-terminating Layer-4 load balancer for MQTT")
//	root.AddCommand(runCommand(), program.CheckCommand(lb.Check))
//	…
//	arrived := make(chan os.Signal, 4)
//	signal.Notify(arrived, syscall.SIGTERM, os.Interrupt)
//	go func() { program.Signals(arrived, program.Handlers{Log: log, Stop: stop}); os.Exit(1) }()
//
// Invariants: nothing here ends the process or knows what a program serves; a signal is never waited behind
// anything but a handler, and handlers do not block.
//
// # Why
//
// An operator who knows one of the programs knows the other: -c names the file, check says "valid", the first SIGTERM is
// a request and the second an order. That holds only as long as it is written once. What the two do not share,
// the order in which their parts start and end, stays in each main, where one can read it from top to bottom; a
// framework for it would hide the one thing that a main is for.
package program
