// Package proc reads from /proc what programs under test use, and what machine they run on.
//
//	pids, err := proc.Tree(4711)  // the process and its children
//	use, err := proc.Read(pids)
//	… later …
//	now, err := proc.Read(pids)
//	fmt.Println(now.CPU - use.CPU, now.PSS - use.PSS)
//
// Invariants: nothing is kept, nothing is cached; any goroutine may call anything here. A process that has ended is an error, not a
// zero: a benchmark of a program that crashed must not look cheap.
//
// # Why
//
// PSS and not RSS, because two workers that share a library's pages must not pay for it twice (nginx), nor one that has
// its own copy of the binary in memory look larger than it is. Anonymous memory beside it, because it leaves out the pages of
// the binary that are read in when it first does something, which are no connection's. User and system time of /proc/PID/stat include threads that have ended,
// which the sums of /proc/PID/task do not; its unit is 10 ms, which is nothing over the seconds of a measurement.
package proc
