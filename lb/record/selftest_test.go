package record

import (
	"crypto/tls"
	"encoding/hex"
	"testing"
)

func TestSelfTest(t *testing.T) {
	if err := SelfTest(); err != nil {
		t.Fatal(err)
	}
}

// SelfTest can fail: one wrong bit anywhere in what is known is found.
func TestSelfTestFails(t *testing.T) {
	for _, k := range knowns {
		texts := []*string{&k.secrets[0], &k.secrets[1], &k.client[0], &k.client[1], &k.server[0], &k.server[1]}
		for i, text := range texts {
			if *text == "" {
				continue
			}
			right := *text
			wrong := []byte(right)
			wrong[len(wrong)-1] = "1032547698badcfe"[unhex(wrong[len(wrong)-1])]
			*text = string(wrong)
			if err := k.check(); err == nil {
				t.Errorf("%s: text %d wrong, and nobody notices", tls.CipherSuiteName(k.suite), i)
			}
			*text = right
		}
	}
}

func unhex(c byte) byte {
	b, err := hex.DecodeString("0" + string(c))
	if err != nil {
		panic(err)
	}
	return b[0]
}

// updates is the client's data of SelfTest after one KeyUpdate, made with the other implementation as well.
var updates = []struct {
	suite  uint16
	record string
}{
	{tls.TLS_AES_128_GCM_SHA256, "170303004308dab385c781c25090659835dd8d7c1d003c6ec2e6a058caf903c16580776a1b2ab63e00cdedf2c514502b8a361881663b197b2577d50a5707081e221deb8ed217c624"},
	{tls.TLS_AES_256_GCM_SHA384, "17030300439432bcf721b0370c460398f6e2277ee71e2fdc6ab951e7ef8453b646ac05151bdc552fbaea468c083e8e534003356d7bf2e88bd1590d6274dfe9da5d24a03b4dec8956"},
	{tls.TLS_CHACHA20_POLY1305_SHA256, "17030300434563d78a21e2bc07f9ba4371cc292a1a3574fd49e8aa554182fb69e869a0eaaf57dc091ad94e5caa55f23ebeda83f2c7fcbae404119911a9ad9f9880ee2d33e67996b3"},
}

func TestKeysAfterKeyUpdate(t *testing.T) {
	for i, u := range updates {
		s, err := knowns[i].state(true)
		if err != nil || knowns[i].suite != u.suite {
			t.Fatal(err)
		}
		c := NewCache(2)
		s.flags |= answer
		s.AppendOwed(c, nil)
		data := make([]byte, 50)
		for i := range data {
			data[i] = byte(i)
		}
		if got := hex.EncodeToString(seal(&s, c, data)); got != u.record {
			t.Errorf("%s: %s, want %s", tls.CipherSuiteName(u.suite), got, u.record)
		}
	}
}
