package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// listenAddress reads where to listen: ":8883", "host:port", "[::1]:8883". Port 0 lets the
// kernel choose one. The usual port is proposed to who has left it out.
func (v value) listenAddress(usual string) string {
	s, host, ok := v.hostPort(0, usual)
	if !ok {
		return ""
	}
	if host != "" && !v.reachable(host) {
		return ""
	}
	return s
}

// serverAddress reads where a server is: "host:port".
func (v value) serverAddress() string {
	s, host, ok := v.hostPort(1, "1883")
	if !ok {
		return ""
	}
	if host == "" {
		v.wrong(`%q lacks the host; write "127.0.0.1%s" for this machine`, s, s)
		return ""
	}
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
		v.wrong("%s is no address to connect to; name the server's own", host)
		return ""
	}
	if !v.reachable(host) {
		return ""
	}
	return s
}

// adminAddress reads where to serve metrics and the API: "host:port", "unix:/path" or "".
func (v value) adminAddress() string {
	path, isUnix := strings.CutPrefix(v.node.Value, "unix:")
	switch {
	case isUnix, v.node.Value == "":
	case strings.HasPrefix(v.node.Value, "/"), strings.HasPrefix(v.node.Value, "."):
		v.wrong("is not host:port; for a socket write %s", redact.Quote("unix:"+v.node.Value))
		return ""
	default:
		return v.listenAddress("8404")
	}
	if _, ok := v.text(); !ok || !isUnix {
		return ""
	}
	if path == "" {
		v.wrong("lacks the path; write unix:/run/mqttlb.sock")
		return ""
	}
	path = v.absolute(path)
	// unix(7): sun_path has 108 bytes, one of them for the zero at the end.
	if len(path) > 107 {
		v.wrong("the path is too long for a socket: %d bytes, and the kernel takes 107", len(path))
		return ""
	}
	return "unix:" + path
}

// hostPort reads an address whose port is a number, at least low, and its host.
func (v value) hostPort(low int, usual string) (address, host string, ok bool) {
	if v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!int" {
		v.wrong("%s", whyNoAddress(v.node.Value, usual, low == 0))
		return "", "", false
	}
	address, ok = v.text()
	if !ok {
		return "", "", false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		v.wrong("%s", whyNoAddress(address, usual, low == 0))
		return "", "", false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || int(n) < low || strconv.FormatUint(n, 10) != port {
		v.wrong("the port must be a number from %d to 65535, not %s", low, redact.Quote(port))
		return "", "", false
	}
	return address, host, true
}

// whyNoAddress says what is wrong with a text that has no host and port, and what to write, where
// an address to listen at may have no host.
func whyNoAddress(s, usual string, listen bool) string {
	if _, err := strconv.ParseUint(s, 10, 16); err == nil && listen {
		return `must be an address, not only a port; write ":` + s + `" for every address of the machine, or "127.0.0.1:` + s + `"`
	} else if err == nil {
		return `must be an address, not only a port; write "127.0.0.1:` + s + `" for this machine`
	}
	// ::1:1883 is an IPv6 address, too, but hardly meant as one.
	if at := strings.LastIndexByte(s, ':'); strings.Count(s, ":") > 1 {
		_, errPort := strconv.ParseUint(s[at+1:], 10, 16)
		if a, err := netip.ParseAddr(s[:at]); err == nil && a.Is6() && errPort == nil {
			return `the IPv6 address needs brackets; write "[` + s[:at] + `]` + s[at:] + `"`
		}
	}
	host := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if _, err := netip.ParseAddr(host); !redact.Secret(s) && (err == nil || hostName(host)) {
		return redact.Quote(s) + ` lacks the port; write "` + net.JoinHostPort(host, usual) + `"`
	}
	return redact.Quote(s) + ` is not host:port; write "127.0.0.1:` + usual + `", or "[::1]:` + usual + `" for IPv6`
}

// reachable says whether host is an IP address or may be the name of one.
func (v value) reachable(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	switch {
	case host == "*":
		v.wrong(`leave the * out: an empty host, as in ":8883", means every address`)
	case strings.ContainsAny(host, ":%"):
		v.wrong("%s is not an IPv6 address", redact.Quote(host))
	case !strings.ContainsFunc(strings.TrimRight(host, "."), func(r rune) bool { return (r < '0' || r > '9') && r != '.' }):
		v.wrong("%s is not an IPv4 address", redact.Quote(host))
	case !hostName(host):
		v.wrong("%s is neither an IP address nor a host name", redact.Quote(host))
	default:
		return true
	}
	return false
}

// hostName says whether s can be one: RFC 1123 section 2.1, with the underscores that Docker's
// and SRV names have, 253 characters in labels of at most 63.
func hostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return notInName(r) || r == ':' }) {
			return false
		}
	}
	return true
}

// prefix reads a CIDR.
func (v value) prefix() netip.Prefix {
	s, ok := v.text()
	if !ok {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s)
	switch a, errAddr := netip.ParseAddr(s); {
	case errAddr == nil && a.Zone() == "":
		v.wrong("must be a network; write %s/%d for the one address", a.Unmap(), a.Unmap().BitLen())
	case err != nil:
		v.wrong("%s is not a network; write 10.0.0.0/8 or fd00::/8", redact.Quote(s))
	case p.Addr().Is4In6():
		v.wrong("%s is IPv4 written as IPv6 and would match nobody; write it as IPv4", s)
	case p != p.Masked():
		v.wrong("%s has address bits after the first %d; write %s", s, p.Bits(), p.Masked())
	default:
		return p
	}
	return netip.Prefix{}
}

// absolute returns a path of the file, which is relative to the file's folder, as an absolute one.
func (r *reader) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(r.folder, path)
}

// overlap says whether two listening addresses, both valid, cannot be bound side by side
// without SO_REUSEPORT. An unspecified host takes IPv4 and IPv6 alike, as Go's net.Listen does
// for "tcp"; names are compared, not resolved. Port 0 is a different one each time.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return a == b && errA != nil // twice the same unix socket
	}
	return wildcard(hostA) || wildcard(hostB) || sameHost(hostA, hostB)
}

// wildcard says whether host stands for every address.
func wildcard(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

// sameHost says whether two hosts are the same address or the same name.
func sameHost(a, b string) bool {
	ipA, errA := netip.ParseAddr(a)
	ipB, errB := netip.ParseAddr(b)
	if errA == nil && errB == nil {
		return ipA.Unmap() == ipB.Unmap()
	}
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
