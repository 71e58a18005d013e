package lb

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/mqttlb/mqttlb/lb/config"
)

// proxyVersion is the version of the PROXY protocol that a value of send_proxy means; 0 = none.
func proxyVersion(name string) byte {
	switch name {
	case config.SendProxyV1:
		return 1
	case config.SendProxyV2:
		return 2
	}
	return 0
}

// proxyHeader returns the PROXY header for this connection; nil when the servers get none.
func (c *conn) proxyHeader() ([]byte, error) {
	spec := &c.pool.cfg
	version := proxyVersion(spec.SendProxy)
	if version == 0 {
		return nil, nil
	}
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(c.source), net.TCPAddrFromAddrPort(c.arrived))
	if version == 2 {
		tlvs, err := c.extensions(spec.SendProxyTLVs)
		if err != nil {
			return nil, fmt.Errorf("make the PROXY header: %w", err)
		}
		if err := h.SetTLVs(tlvs); err != nil {
			return nil, fmt.Errorf("make the PROXY header: %w", err)
		}
	}
	return h.Format()
}

// extensions returns what is known of the wanted extensions (PROXY protocol, section 2.2). Where TLS ended at the
// proxy before us, what that said of it goes on.
func (c *conn) extensions(want []string) ([]proxyproto.TLV, error) {
	var list []proxyproto.TLV
	ssl, cn := slices.Contains(want, config.TLVSSL), slices.Contains(want, config.TLVCN)
	if (ssl || cn) && c.tls != nil {
		tlv, err := sslExtension(c.tls, cn)
		if err != nil {
			return nil, err
		}
		list = append(list, tlv)
	} else if ssl || cn {
		list = c.passOn(list, proxyproto.PP2_TYPE_SSL)
	}
	if slices.Contains(want, config.TLVAuthority) {
		if c.tls == nil {
			list = c.passOn(list, proxyproto.PP2_TYPE_AUTHORITY)
		} else if name := c.tls.ServerName; isHostName(name) {
			list = append(list, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(name)})
		}
	}
	if slices.Contains(want, config.TLVUniqueID) {
		list = append(list, proxyproto.TLV{Type: proxyproto.PP2_TYPE_UNIQUE_ID, Value: []byte(c.name())})
	}
	return list, nil
}

// maxHostName is the longest name that DNS has, in bytes of text (RFC 1035, section 2.3.4).
const maxHostName = 253

// isHostName reports whether what a client sent as SNI may go into a header that others parse and log.
func isHostName(name string) bool {
	return name != "" && len(name) <= maxHostName && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r == '-' || r == '.' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	})
}

// passOn adds the extension of a type that a trusted proxy sent.
func (c *conn) passOn(list []proxyproto.TLV, t proxyproto.PP2Type) []proxyproto.TLV {
	for _, tlv := range c.header.TLVs {
		if tlv.Type == t {
			return append(list, tlv)
		}
	}
	return list
}

// sslExtension describes a TLS connection (section 2.2.6): verify is 0 only for a client whose certificate was
// presented and verified, which ours always is when it is there.
func sslExtension(state *tls.ConnectionState, cn bool) (proxyproto.TLV, error) {
	ssl := tlvparse.PP2SSL{Client: tlvparse.PP2_BITFIELD_CLIENT_SSL, Verify: 1}
	add := func(t proxyproto.PP2Type, value string) {
		ssl.TLV = append(ssl.TLV, proxyproto.TLV{Type: t, Value: []byte(value)})
	}
	add(proxyproto.PP2_SUBTYPE_SSL_VERSION, tlsVersionNames[versionIndex(state.Version)])
	add(proxyproto.PP2_SUBTYPE_SSL_CIPHER, cipherName(state.CipherSuite))
	if len(state.PeerCertificates) > 0 {
		ssl.Verify = 0
		ssl.Client |= tlvparse.PP2_BITFIELD_CLIENT_CERT_SESS
		if !state.DidResume {
			ssl.Client |= tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN
		}
		if name := state.PeerCertificates[0].Subject.CommonName; cn && name != "" {
			add(proxyproto.PP2_SUBTYPE_SSL_CN, name)
		}
	}
	return ssl.Marshal()
}

// cipherName spells a cipher suite as OpenSSL, and so HAProxy, does: TLS 1.3's as they are, those of TLS 1.2 as
// in the specification's example, ECDHE-RSA-AES128-GCM-SHA256.
func cipherName(suite uint16) string {
	name := tls.CipherSuiteName(suite)
	if !strings.Contains(name, "_WITH_") {
		return name
	}
	return strings.NewReplacer("TLS_", "", "_WITH_", "-", "AES_", "AES", "_CBC_", "-", "POLY1305_SHA256", "POLY1305", "_", "-").Replace(name)
}
