// Package run runs a plan in this process or in several, and measures the program under test meanwhile.
//
//	r, err := run.Run(ctx, run.Options{Plan: p, Processes: 1, PIDs: []int{4711}, Progress: os.Stderr})
//
//	err := run.Worker(ctx, os.Stdin, os.Stdout) // what each of several processes does
//
// Invariants: the plan's stages are points where all processes have arrived, and none goes on before CPU and memory were read; a
// process that fails ends all, and its error is Run's; Run returns when every process that it has started is gone.
//
// # Why
//
// A process has so many descriptors, and their limit is the administrator's; several processes need nobody's leave. They talk in lines
// of JSON over standard input and output: to look at one, run it by hand.
package run
