//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "mqttbench runs on Linux: it drives its load with epoll, and reads what others use from /proc")
	os.Exit(1)
}
