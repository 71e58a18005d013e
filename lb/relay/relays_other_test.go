//go:build !linux

package relay

var relays = map[string]starter{"copy": startCopy}
