// Package devca makes throw-away certificates: an authority, server and client certificates,
// revocation lists. They are for development, tests and demonstrations; the authority's key lies
// unprotected in a file or in memory.
//
//	files, err := devca.Write("certs", []string{"mqtt.example.org"}, time.Now()) // ca.pem, server.pem …
//
//	ca, err := devca.New(devca.ECDSA, time.Now()) // the same in memory
//	server, err := ca.Issue(devca.Options{Hosts: []string{"mqtt.example.org"}})
//	client, err := ca.Issue(devca.Options{Client: true, CommonName: "device-1"})
//	conf := &tls.Config{Certificates: []tls.Certificate{server.TLS()}, ClientCAs: ca.Pool()}
//	crl, err := ca.CRL([]*x509.Certificate{client.Cert}, time.Now(), time.Now().Add(time.Hour))
//
// Invariants: a CA and what it issues never change, and any goroutine may use them. Write replaces
// only certificates that the authority in the same folder has issued; an existing authority is used again
// or is an error, and nothing else is ever overwritten. Files with a key have mode 0600.
//
// # Why
//
// The authority is valid for ten years and a certificate for 825 days: devices of a laboratory
// keep ca.pem for long, while Apple's systems refuse server certificates that are valid for longer (support.apple.com/103769),
// whoever signed them. Keys are ECDSA P-256 unless asked otherwise: a handshake costs the
// server about a quarter of what it costs with RSA-2048. server.pem holds the key behind the chain, as HAProxy's crt
// expects, and server.key holds it once more: both forms of mqttlb's certificates setting work on the same
// folder. An authority that this package did not make is never used to sign: a folder may well hold a
// company's real one.
package devca
