// Package config says what the operator wants, or exactly what is wrong with the file.
//
// Load reads mqttlb.yaml and every file that it names, and returns a Config in which everything is
// resolved, defaulted and checked, or Problems that holds all that is wrong at once, each with the
// file and the line. Diff says what is different between two configurations. A Watcher tells when
// the files have changed.
//
//	c, err := config.Load("mqttlb.yaml")     // err prints as FILE:LINE: path.to.field: what is wrong; what to try
//	w := config.NewWatcher(log, c)           // with w.Run(ctx) in a goroutine
//	<-w.Changed()
//	next, err := config.Load(c.Path)
//	w.Follow(next, err)
//	change := config.Diff(c, next)           // where err is nil
//
// # Invariants
//
//   - A Config that Load or Parse returned is valid: its references resolve, its names are unique,
//     its numbers and durations are within their bounds, its paths are absolute and their files
//     could be read. It is never changed afterwards.
//   - What a certificate, key, CA or CRL file holds is not looked at, only that it is there. Who
//     finds it to be wrong files that with Config.Problem, so that it is told like the rest.
//   - Nothing is half accepted: an unknown key, a value of another type and a setting that could
//     have no effect beside the others are all problems.
//   - A bad text costs bounded memory and time, however it uses aliases, and never panics.
//   - Contents of files that the configuration names are hashed, never logged.
//
// # Rules that the manual's example leaves open
//
//   - Defaults are in one place, the function defaults.
//   - client_timeout is auto for protocol mqtt and 600s for protocol tcp, where an explicit auto is
//     refused: there is no keep alive to follow.
//   - A text may be empty only where the manual has "" for "none". A key without a value (null) is
//     refused: in YAML it is what a forgotten value and a wrong indentation look like.
//   - Numbers are plain decimal, booleans are true and false, durations have a unit; 0 may do without.
//   - Anchors and aliases are understood, merge keys, tags and further documents are not.
//   - Two listeners may share a port of overlapping addresses (":8883" takes in "127.0.0.1:8883")
//     when both have reuse_port, and never the very same address. The admin address is no one else's.
//   - A servers file may hold an empty list: an orchestrator that has scaled down to nothing writes
//     one, and the other listeners must go on. An empty file is refused, since it is one half written.
//     No servers and no servers file is refused.
//   - The names of servers are unique in the backend, whether they come from the configuration or
//     from the servers file, whose problems are told under its own name with paths from its root:
//     "servers.yaml:3: [2].weight: …".
//   - Relative paths start at the folder of the configuration as it was named, not at that of the
//     file a link leads to: in a Kubernetes volume the latter has another name after each change.
//   - workers, admin.listen and log.format take effect at the next start; Diff says so.
//
// # Why
//
// The text is walked node by node. yaml.v3 can decode into structs and refuse unknown keys
// (KnownFields), but it names no path, takes null for anything and makes 8 of 010, and once the
// values are in structs the lines are gone that a rule about two of them should name.
//
// The line of a syntax error is searched for, by taking lines off the end until the rest is YAML:
// the parser's own messages name the line where the enclosing block began, or none.
//
// Folders are watched rather than files, because a watch on a file stays with the file that an
// editor has just renamed away. Reports only say when to look; whether something changed is decided
// by the SHA-256 of what is read, so a lost, repeated or meaningless report costs nothing. What
// Load read, not what the first look sees, is what the files are compared with: no change falls
// between the two. For the same reason the files of a refused configuration are followed too: the
// certificate that it lacks starts the next attempt when it arrives.
//
// A file that is half written when a look finds it makes a reload that is refused, and another one
// when it is complete. Waiting 100 ms for quiet makes that rare; waiting longer would only make
// every reload late.
package config
