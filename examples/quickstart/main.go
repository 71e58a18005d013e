package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stay := flag.Bool("stay", false, "keep everything up at the end, until Ctrl-C")
	flag.Parse()
	// The last two: the terminal was closed, or whoever reads the text has left. The folder is to be removed all the same.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	o := options{out: os.Stdout, stay: *stay, mqttPort: 8883, adminPort: 8404, oneAddress: !manyAddresses()}
	if _, err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "\n%v\n", err)
		os.Exit(1)
	}
}

// options say how the story is told.
type options struct {
	out  io.Writer
	stay bool // after the last step, until the context is done

	// The first ports to try for the load balancer; 0 = whichever is free.
	mqttPort, adminPort int

	// oneAddress lets all devices come from 127.0.0.1, and the load balancer deal them out in turn.
	oneAddress bool
}

// manyAddresses reports whether programs may use the whole of 127.0.0.0/8, as on Linux and Windows, or 127.0.0.1
// alone, as on macOS.
func manyAddresses() bool {
	ln, err := net.Listen("tcp", net.JoinHostPort(homeAddress(0).String(), "0"))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}
