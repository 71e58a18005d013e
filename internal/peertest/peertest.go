// Package peertest lets tests run the programs of others: brokers, clients and tools that we must agree with; and
// gives them the address of nobody, for the peer that is not there.
//
//	sub := peertest.Path(t, "mosquitto_sub", "mosquitto-clients")
//	broker := peertest.StartMosquitto(t, true)
//	… broker.Address …
//	broker.Kill()
//
// Where a program is not installed the test is skipped, and says what to install; with MQTTLB_REQUIRE_PEERS=1 in
// the environment it fails, so that a machine that is to run all tests cannot leave one out unseen.
package peertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// require is the variable that makes missing programs errors, when it is 1.
const require = "MQTTLB_REQUIRE_PEERS"

// Path returns the path of a program, which debianPackage brings. Where it is missing the test ends.
func Path(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} { // where Debian puts servers: not in everybody's PATH
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, program))
		}
	}
	if err != nil {
		Lacking(t, program+" is not installed: apt-get install "+debianPackage)
	}
	return path
}

// Lacking ends a test for which this machine has not what it needs, and says what: it fails where everything must be
// there, else it is skipped.
func Lacking(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(require) == "1" {
		t.Fatalf("%s (%s=1 makes this an error)", what, require)
	}
	t.Skipf("%s (with %s=1 this is an error)", what, require)
}
