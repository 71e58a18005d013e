//go:build linux

package peer

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
)

// A Kind is a program.
type Kind string

// The load balancers.
const (
	HAProxy Kind = "haproxy"
	Nginx   Kind = "nginx"
	MQTTLB  Kind = "mqttlb"
)

// The brokers.
const (
	StandIn    Kind = "standin" // mqttbench's own
	Mosquitto  Kind = "mosquitto"
	MQTTBroker Kind = "mqttbroker"
)

// Setup is where a program runs. Of brokers, only Dir, Listen and SendProxy matter.
type Setup struct {
	Dir         string // for its files
	Listen      string // 127.0.0.1:PORT
	Node        string // the broker
	Admin       string // of mqttlb: where its metrics are
	Certificate string // PEM: the chain, then the key
	CPUs        int    // threads, or processes, of it
	SendProxy   bool   // put a PROXY header before each connection; version 2, but for nginx, which has 1 only
}

// The texts of the configurations. HAProxy's and nginx's sections are their operators' own, names included.
const (
	haproxyText = `global
    maxconn {{.Most}}
    nbthread {{.CPUs}}
    no strict-limits

defaults
    timeout connect 5s

listen mqtt-ssl
    bind {{.Listen}} ssl crt {{.Certificate}} no-sslv3
    mode tcp
    maxconn {{.Most}}
    timeout client 600s
    default_backend emqx_cluster

backend emqx_cluster
    mode tcp
    balance source
    timeout server 600s
    timeout check 5000
    server emqx1 {{.Node}} check inter 10000 fall 2 rise 5 weight 1{{if .SendProxy}} send-proxy-v2{{end}}
`

	nginxText = `load_module {{.Module}};
daemon off;
worker_processes {{.CPUs}};
worker_rlimit_nofile 20000;
pid {{.Dir}}/nginx.pid;
error_log stderr error;

events {
    worker_connections 20000;
}

stream {
    upstream stream_backend {
        zone tcp_servers 64k;
        hash $remote_addr;
        server {{.Node}} max_fails=2 fail_timeout=30s;
    }

    server {
        listen {{.Listen}} ssl backlog=4096;
        proxy_pass stream_backend;
        proxy_buffer_size 4k;
        proxy_timeout 600s;
        ssl_handshake_timeout 15s;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {{.Certificate}};
        ssl_certificate_key {{.Certificate}};
{{- if .SendProxy}}
        proxy_protocol on;
{{- end}}
    }
}
`

	mqttlbText = `admin:
  listen: {{.Admin}}
workers: {{.CPUs}}
listeners:
  - name: mqtt-ssl
    listen: {{.Listen}}
    backend: emqx_cluster
    client_timeout: 600s
    tls:
      certificates: [{cert: {{.Certificate}}}]
backends:
  - name: emqx_cluster
    balance: source
    send_proxy: {{if .SendProxy}}v2{{else}}none{{end}}
    check: {timeout: 5s, interval: 10s, fall: 2, rise: 5}
    servers: [{name: emqx1, address: "{{.Node}}"}]
`

	mosquittoText = `listener {{.Port}} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
log_dest none
`

	mqttbrokerText = `listeners:
  - {name: bench, listen: "{{.Listen}}", proxy_protocol: optional}
api: {listen: ""}
dashboard: {listen: ""}
auth: {allow_anonymous: true}
`
)

// mostConnections is how many connections HAProxy is allowed: with two descriptors each, what 20,000 have room for.
const mostConnections = 9900

// Config returns the configuration of a kind; "" for the stand-in, which has none.
func Config(k Kind, s Setup) (string, error) {
	texts := map[Kind]string{HAProxy: haproxyText, Nginx: nginxText, MQTTLB: mqttlbText, Mosquitto: mosquittoText, MQTTBroker: mqttbrokerText}
	_, port, _ := strings.Cut(s.Listen, ":")
	if k == Mosquitto && s.SendProxy {
		return "", fmt.Errorf("mosquitto knows no PROXY headers: leave out --send-proxy, or take another --broker")
	}
	t, err := template.New(string(k)).Parse(texts[k])
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = t.Execute(&out, struct {
		Setup
		Most         int
		Module, Port string
	}{s, mostConnections, nginxModule(), port})
	return out.String(), err
}

// nginxModule is where the module for TCP is: of Debian's package libnginx-mod-stream, or beside a program that has it built in another way.
func nginxModule() string {
	found, _ := filepath.Glob("/usr/lib*/nginx/modules/ngx_stream_module.so") // the pattern is good
	if len(found) > 0 {
		return found[0]
	}
	return "modules/ngx_stream_module.so"
}

// arguments are those that a kind is called with; file is its configuration.
func arguments(k Kind, s Setup, file string) []string {
	switch k {
	case HAProxy:
		return []string{"-db", "-f", file}
	case Nginx:
		return []string{"-p", s.Dir, "-e", "stderr", "-c", file}
	case MQTTLB, MQTTBroker:
		return []string{"run", "-c", file}
	case Mosquitto:
		return []string{"-c", file}
	}
	return []string{"broker", "--listen", s.Listen, "--proxy-protocol", "optional"}
}
