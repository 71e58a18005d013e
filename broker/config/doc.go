// Package config says what the operator of a node wants, or exactly what is wrong with the file.
//
//	c, err := config.Load("mqttbroker.yaml")
//	if err != nil {
//		fmt.Fprintln(os.Stderr, err) // every problem, one a line: FILE:LINE: path.to.field: what is wrong
//	}
//	c = config.Default() // what a node without a file does; change what you like, then
//	err = c.Check()      // the same rules, for a configuration that a program made
//
// Invariants:
//
//   - A Config that Load returned has passed Check: whoever gets it need not look again.
//   - Defaults are in one function, Default. A value that cannot be read is an error, never a default.
//   - All problems are reported at once, with the lines of the file.
//   - What this version does not do is an error, never silently ignored: a node that is told of peers
//     and stays by itself would lose messages that its operator believes delivered.
//   - Files named in the configuration are not opened here, only their paths made absolute to
//     the folder of the file.
//
// # Why
//
// The file is read node by node instead of through yaml.v3's decoding into structs: that stops
// at the first wrong type, cannot name the field, and tells line numbers only inside its messages. The table of
// fields that remains is also the documentation of what may be written, and each reader is one line.
package config
