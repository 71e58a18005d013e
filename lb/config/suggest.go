package config

import (
	"slices"
	"strings"
)

// insteadOf returns what to write for a word that is none of those that are known, which are
// sorted: "did you mean weight?", or all of them.
func insteadOf(word string, known []string) string {
	if best := nearest(word, known); best != "" {
		return "did you mean " + best + "?"
	}
	if len(known) == 0 {
		return "delete it"
	}
	return "possible here: " + strings.Join(known, ", ")
}

// nearest returns the known word that was probably meant, or "".
func nearest(word string, known []string) string {
	word = strings.ReplaceAll(strings.ToLower(word), "-", "_")
	if ours := translated(word); slices.Contains(known, ours) {
		return ours
	}
	best, least := "", len(word)/3+1 // one slip in three letters, and one for the short words
	if len(word) < 3 || len(word) > 40 {
		least = 0 // as good as any other word; nor shall a long one cost much
	}
	for _, k := range known {
		if d := distance(word, strings.ReplaceAll(k, "-", "_")); d < least || d == 0 {
			best, least = k, d
		}
	}
	return best
}

// translated returns our key for one of HAProxy's or NGINX's (HAProxy configuration manual
// sections 4 and 5; ngx_stream_upstream_module and ngx_stream_proxy_module), or "".
func translated(word string) string {
	switch word {
	case "bind":
		return "listen"
	case "maxconn", "max_conns":
		return "max_connections"
	case "mode":
		return "protocol"
	case "default_backend", "use_backend", "proxy_pass":
		return "backend"
	case "crt", "ssl_certificate":
		return "cert"
	case "ssl_certificate_key":
		return "key"
	case "ca_file":
		return "client_ca"
	case "crl_file":
		return "client_crl"
	case "ssl", "ssl_min_ver":
		return "tls"
	case "verify":
		return "client_auth"
	case "hash_type":
		return "hash"
	case "server":
		return "servers"
	case "inter":
		return "interval"
	case "fastinter":
		return "fast_interval"
	case "downinter":
		return "down_interval"
	case "on_marked_down_shutdown":
		return "on_marked_down"
	case "nbthread", "worker_processes":
		return "workers"
	case "frontends", "frontend":
		return "listeners"
	case "upstream", "upstreams":
		return "backends"
	default:
		return ""
	}
}

// distance returns how many letters must be inserted, deleted or replaced to make b of a
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
