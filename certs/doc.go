// Package certs keeps the certificates a TLS listener serves and the authorities it trusts for
// clients: it loads PEM files, says everything that is wrong with them at once, chooses a
// certificate by server name, and refuses revoked clients.
//
//	set, err := certs.Load([]certs.Pair{{Cert: "server.pem", Key: "server.key"}}, time.Now())
//	cas, err := certs.LoadCAs("clients-ca.pem", time.Now())
//	crl, err := certs.LoadCRL("clients.crl", cas, time.Now())
//	conf := &tls.Config{GetCertificate: set.Get, ClientCAs: cas.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
//	conf.VerifyConnection = crl.VerifyConnection
//
// Invariants:
//
//   - Set, CAs and Revoked never change once they are loaded: any goroutine may use them, without
//     locks. Nothing here watches files. Whoever sees a file change loads everything anew and swaps
//     one pointer when that succeeded; the Fingerprint methods tell whether anything is new.
//   - A Set holds only chains that work at the time of loading: the key fits, every certificate but a
//     root is valid, each is the issuer of an earlier one.
//   - No error contains bytes of a private key, not even through a wrapped error.
//   - At most 4 MiB are read of a PEM file and 64 MiB of a revocation list.
//
// # Choice by server name
//
// The exact name wins, then a wildcard for its first label, then the first pair. Names are the
// leaf's DNS names and addresses, or its common name when it has no DNS name; case and a trailing
// dot do not matter. Among the certificates of the chosen name a client gets an ECDSA or Ed25519
// one if it can use it, and RSA if not. "The first pair" includes later pairs of another key type
// that serve all its names, so a client without SNI has the same choice.
//
// # Revocation
//
// Every issuer in a client's chain needs a list, as with HAProxy's crl-file and NGINX's ssl_crl:
// a client whose issuer has none is refused, and Revoked.Uncovered names such issuers
// beforehand. A list that has expired is refused when it is loaded. One that expires while it is in
// use goes on being used.
//
// A list whose issuing distribution point merely names where it is published counts as a list of
// all its issuer's certificates. An authority that splits its list into several by distribution point must
// have all of them in the file; they are added up.
//
// # Why
//
// The files are parsed here and not by tls.LoadX509KeyPair because that stops at the first
// problem and skips damaged blocks silently: a chain then goes out without its intermediate, which only some
// clients notice. Errors of private keys are not wrapped because ASN.1 errors quote the bytes
// they stumbled over.
//
// Choice goes through maps that are built once: one look-up without allocation for a name with one
// certificate (45 ns on a 2-core x86 virtual machine).
// ClientHelloInfo.SupportsCertificate is asked only where there is a choice, with the server name blanked: it would
// verify the name again, and reject every certificate for a name that nobody has. ECDSA comes
// first because an RSA-2048 handshake costs almost four times as much CPU in Go.
//
// Certificates after the leaf may be in any order in which each signed an earlier one, not only in the
// strict one of TLS 1.2 (RFC 5246, section 7.4.2): cross-signed chains that HAProxy serves are
// such. Revocation is a VerifyConnection and not a VerifyPeerCertificate because crypto/tls calls
// the latter for full handshakes only: a revoked client could go on resuming for a week. HAProxy and
// NGINX refuse every client once a list has expired; a load balancer that cuts off a whole fleet
// because a file was not renewed does more harm than one that goes on with what it knows, so here expiry is for the operator,
// through Revoked.NextUpdate, at start and at reload.
package certs
