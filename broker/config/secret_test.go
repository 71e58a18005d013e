package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

// A key or a token that stands where something else belongs is refused without a word of it in the problems.
func TestSecretsAreNotShown(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	token := hex.EncodeToString(key.Seed())
	for _, secret := range []string{text, token, token[:32], "a password\n"} {
		silent(t, secret, secret)
	}
	for _, secret := range []string{text, token, token[:32]} {
		for _, form := range []string{
			"*%s", "%q: 1", "api: {%q: 1}", "node: %q", "listeners: %q", "listeners: [%q]", "limits: {max_qos: %q}", "limits: {max_packet_size: %q}",
			"session: {max_expiry: %q}", "auth: {allow_anonymous: %q}", "api: {listen: %q}", "data_dir: %q", "acl_file: %q", "cluster: {secret_file: %q}",
			"listeners: [{name: a, listen: %q}]", "listeners: [{name: a, listen: ':1', transport: %q}]", "listeners: [{name: a, listen: ':1', proxy_protocol: %q}]",
			"listeners: [{name: %[1]q, listen: ':1'}, {name: %[1]q, listen: ':2'}]",
		} {
			if secret != text && (form == "node: %q" || form == "acl_file: %q" || form == "data_dir: %q") {
				continue // a good name, if a strange one
			}
			silent(t, secret, fmt.Sprintf(form, secret))
		}
	}
}

// silent looks for parts of the secret in what is said about a text.
func silent(t *testing.T, secret, text string) {
	t.Helper()
	_, err := Parse("f.yaml", []byte(text))
	if err == nil {
		t.Errorf("%q is valid", text)
		return
	}
	for i := 0; i+8 <= len(secret); i++ {
		if strings.Contains(err.Error(), secret[i:i+8]) {
			t.Errorf("%q: %q shows %q", text, err, secret[i:i+8])
			return
		}
	}
}
