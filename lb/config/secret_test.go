package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

// secrets are keys and tokens in the forms that files hold them in.
func secrets(t *testing.T) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	drawn := make([]byte, 32)
	rand.Read(drawn)
	text := block("EC PRIVATE KEY", sec1)
	return map[string]string{
		"key":                 text,
		"key, PKCS 8":         block("PRIVATE KEY", pkcs8),
		"key after a comment": "# the key\n" + text,
		"key in one line":     strings.ReplaceAll(text, "\n", " "),
		"key without lines":   base64.StdEncoding.EncodeToString(pkcs8),
		"token":               hex.EncodeToString(drawn),
		"token, newline":      hex.EncodeToString(drawn) + "\n",
		"token of digits":     strings.Repeat("1234567890", 6) + "1234",
		"token, short":        hex.EncodeToString(drawn[:16]),
		"token, base64":       base64.StdEncoding.EncodeToString(drawn),
		"token as an alias":   "*" + hex.EncodeToString(drawn),
		"token as a tag":      "!" + hex.EncodeToString(drawn) + " x",
		"token as a key":      hex.EncodeToString(drawn) + ": x\n",
		"token in a list":     "- " + hex.EncodeToString(drawn) + "\n",
		"password":            "drei Zwerge, sechs Riesen\n",
	}
}

// A key that stands where something else belongs is refused without a word of it in the problems.
func TestSecretsAreNotShown(t *testing.T) {
	const backend = "\nbackends: [{name: b, servers: [{name: s, address: 's:1'}]}]\n"
	const listener = "listeners: [{name: a, listen: ':1', backend: b}]\n"
	for name, secret := range secrets(t) {
		t.Run(name, func(t *testing.T) {
			silent(t, "as the configuration", secret, secret)
			silent(t, "as the servers file", secret, listener+"backends: [{name: b, servers_file: s.key}]\n")
			if name == "password" {
				return // a text of this form is not told from a slip of the pen
			}
			written := fmt.Sprintf("%q", strings.TrimSpace(secret))
			for _, path := range []string{
				"admin: {listen: X}", "admin: {token_file: X}", "log: {level: X}", "workers: X", "shutdown_timeout: X", "admin: X", "listeners: X",
				"X: 1", "admin: {X: 1}",
			} {
				silent(t, path, secret, strings.ReplaceAll(path, "X", written)+"\n"+listener+backend)
			}
			for _, field := range []string{
				"name", "listen", "backend", "protocol", "max_connections", "client_timeout", "reuse_port", "trusted_proxies", "tls",
			} {
				silent(t, field, secret, "listeners: [{"+field+": "+written+"}]"+backend)
			}
			silent(t, "cert", secret, "listeners: [{name: a, listen: ':1', backend: b, tls: {certificates: [{cert: "+written+"}]}}]"+backend)
			silent(t, "address", secret, listener+"backends: [{name: b, servers: [{name: s, address: "+written+"}]}]\n")
			silent(t, "server", secret, listener+"backends: [{name: b, servers: ["+written+"]}]\n")
		})
	}
}

// silent parses a text in which every file that is named a servers file holds the secret, and looks for
// parts of it in what is said.
func silent(t *testing.T, where, secret, text string) {
	t.Helper()
	_, err := Parse("mqttlb.yaml", []byte(text), func(path string) ([]byte, error) {
		if strings.HasSuffix(path, "s.key") {
			return []byte(secret), nil
		}
		return nil, errNotRegular
	})
	if err == nil {
		t.Errorf("%s: valid", where)
		return
	}
	said := err.Error()
	for i := 0; i+8 <= len(secret); i++ {
		if strings.Contains(said, secret[i:i+8]) {
			t.Errorf("%s: %q shows %q", where, said, secret[i:i+8])
			return
		}
	}
}

// What is said instead has the place, the kind and the length.
func TestSecretsInWords(t *testing.T) {
	token := strings.Repeat("c0ffee", 11)
	tests := []struct{ text, want string }{
		{token, "f.yaml:1: must be a mapping (key: value), not a text of 66 bytes"},
		{"short", "f.yaml:1: must be a mapping (key: value), not a text of 5 bytes"},
		{strings.Repeat("7", 64), "f.yaml:1: must be a mapping (key: value), not a number of 64 bytes"},
		{token + ": x", "f.yaml:1: ?: unknown key; it is a text of 66 bytes"},
		{"*" + token, "f.yaml:1: not valid YAML: unknown anchor a text of 68 bytes referenced; quote a text that holds a *; *name repeats the value that was marked &name further up"},
		{"admin: {token_file: " + token + "}", "f.yaml:1: admin.token_file: a file of that name (a text of 66 bytes) is not a regular file"},
	}
	for _, test := range tests {
		_, err := Parse("f.yaml", []byte(test.text), func(string) ([]byte, error) { return nil, errNotRegular })
		first, _, _ := strings.Cut(fmt.Sprint(err), "\n")
		if first != test.want {
			t.Errorf("got  %s\nwant %s", first, test.want)
		}
	}
}
