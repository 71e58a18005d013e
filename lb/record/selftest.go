package record

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
)

// A known is what one cipher suite must make of given secrets: each side sends the bytes 0 to 49, then close_notify.
type known struct {
	version, suite uint16
	secrets        [2]string // TLS 1.3: the client's traffic secret, the server's; TLS 1.2: the master secret
	client, server [2]string // records
}

// The first is the trace of RFC 8448, section 3, where the server's record 0 is a session ticket. The others were made with another
// implementation, which makes the same of that trace; their randoms are knownClient and knownServer.
var knowns = [...]known{
	{
		version: tls.VersionTLS13, suite: tls.TLS_AES_128_GCM_SHA256,
		secrets: [2]string{"9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"},
		client: [2]string{
			"1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
			"1703030013c9872760655666b74d7ff1153efd6db6d0b0e3",
		},
		server: [2]string{
			"17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d",
			"1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9",
		},
	},
	{
		version: tls.VersionTLS13, suite: tls.TLS_AES_256_GCM_SHA384,
		secrets: [2]string{"606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f", "909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"},
		client: [2]string{
			"1703030043253e20fa7dfb81579b88c4f938fbfcbfa4e6baa2dca777261ed7f1417abef77015712fc6a85e31433d0a6af2604430232aece5dac0b3f2ed8c3be9db260f596f967ebc",
			"1703030013b234f8c42a30cc4ee3cb96b1b5dd5fa11f2f7f",
		},
		server: [2]string{
			"1703030043e30cc34d2312cc48cb3a5d0a9d0e635a92e2662710e4658e2e7ea856dafd328783fd43597afb373036883265973e46e50b4642f058d521dca68f598021805dd7ebf729",
			"1703030013b58efb19358e3a90e46b4af7870db9cfb6dd50",
		},
	},
	{
		version: tls.VersionTLS13, suite: tls.TLS_CHACHA20_POLY1305_SHA256,
		secrets: [2]string{"606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f", "909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf"},
		client: [2]string{
			"170303004347d84ff514112fa9892097dc84eeb470cb56bf801d9f7cb7f22921158b21027bfcffe276b10b01eb3eb1d1f84a870f50a70294033723e122fb5b662c533a105080fe0a",
			"170303001320f562e05d544b36a159a364e676546ed642d0",
		},
		server: [2]string{
			"17030300430f1d83255e40fd1b05173416269603378d7a39b065884c7cb1b988dc80a98df41c0386eeaa840e9b3f9fc3a4670c11afa5477de34def936831fc85adcc90951554e7ba",
			"1703030013d7b9df59e58fa0f4ec79b0926eed30d6821720",
		},
	},
	{
		version: tls.VersionTLS12, suite: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		secrets: [2]string{"606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"},
		client: [2]string{
			"170303004a00000000000000013dbb4bbb9ebf364ca85662bf1bbe02890b07c85bf823a93d170a6eb06a614a2219e4881d9a2c4274106f16042c71340aa066a86e625c38ab350d926a30b52194accb",
			"150303001a00000000000000023d2a1d4c9b2fbd7b2a69cd3aed0972141ff4",
		},
		server: [2]string{
			"170303004a000000000000000184533c3522e9ce51d26194317aff0c20bf3e3f5536bbbe80ad380ccd228774a81311a9524aab213bef30774a4f7ff65589cf928cb1864bcfe0bb486729c47d02739b",
			"150303001a000000000000000235aaa3b9b05134507b3cc9482aa5e6d2318a",
		},
	},
	{
		version: tls.VersionTLS12, suite: tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		secrets: [2]string{"606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"},
		client: [2]string{
			"170303004a000000000000000194cc33562f77aa5d1588cd77c0f639254cab7a5e5546785d66268636a2c0219d201a4d908b11dc7b3c925482f4cf6a47a3034ee6064af0289ed8847ba1a10a9aac8c",
			"150303001a0000000000000002053b11acf071b317e3c6cbf9e833c73a0163",
		},
		server: [2]string{
			"170303004a00000000000000012d24b69caf5d0db4716b4235dbf961982bb0785d911bb8b9443f375cb0bfff5cd5f852e93732eb0fe7b61efcf1efb9d5ddf16d6eb04d4090f10fb50359cea341c762",
			"150303001a0000000000000002f53ac94084d7d80fddc302860121bba6757b",
		},
	},
	{
		version: tls.VersionTLS12, suite: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		secrets: [2]string{"606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"},
		client: [2]string{
			"1703030042399cb0961888680035f15180499bcaedef33bdcc84fcc0fa6fcf00bcb012d6f28a2eb47fd0e2cc9aecde0e731d56a865c8fc28eacd24710ac83e9f017552edf1b67a",
			"150303001221f63339ade143385d0c5aed3e8944cd2597",
		},
		server: [2]string{
			"1703030042a2b93a21e33a57c676b3bc86ba3147471a8b0005999a39006f68ba0a6f9d4a78820531b9abdf5138e80381bf895bfa0a4594efd7fd98c05b5dac21b081789370e0c3",
			"1503030012de8892f9e88891f2c772f110fd8a26a024e8",
		},
	},
}

const (
	knownClient = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
	knownServer = "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
)

// SelfTest checks each suite, both ways and both roles, against records that are known to be right, and that a record with one
// bit changed is refused. It takes about 0.1 ms. Its error means that nothing may be sent: a processor or a build
// that computes wrongly, or Go's FIPS 140-only mode, which forbids nonces that are counted here.
func SelfTest() error {
	for i := range knowns {
		if err := knowns[i].check(); err != nil {
			return fmt.Errorf("test the records of %s, %s: %w", tls.VersionName(knowns[i].version), tls.CipherSuiteName(knowns[i].suite), err)
		}
	}
	return nil
}

// check lets two states talk to each other.
func (k *known) check() error {
	client, err := k.state(true)
	if err != nil {
		return err
	}
	server, err := k.state(false)
	if err != nil {
		return err
	}
	if err := talk(&client, &server, k.client); err != nil {
		return fmt.Errorf("from client to server: %w", err)
	}
	if err := talk(&server, &client, k.server); err != nil {
		return fmt.Errorf("from server to client: %w", err)
	}
	return nil
}

// state makes one side's state by way of a key log.
func (k *known) state(client bool) (State, error) {
	var log KeyLog
	defer log.Wipe()
	labels := [2]string{labelMaster}
	h := Handshake{Version: k.version, Suite: k.suite, Client: client}
	if k.version == tls.VersionTLS13 {
		labels = [2]string{labelClient, labelServer}
		if h.Written = 1; client {
			h.Written, h.Read = 0, 1
		}
	}
	for i, label := range labels {
		if label == "" {
			continue
		}
		if _, err := fmt.Fprintf(&log, "%s %s %s\n", label, knownClient, k.secrets[i]); err != nil {
			return State{}, err
		}
	}
	if _, err := hex.Decode(h.ServerRandom[:], []byte(knownServer)); err != nil {
		return State{}, err
	}
	s, err := log.State(h)
	if err != nil {
		return State{}, err
	}
	made := s.keys(&s.out)
	_, err = s.suite.aead(&made.key)
	return s, err
}

// talk lets one side send what is known, and the other receive it.
func talk(from, to *State, records [2]string) error {
	var want [2][]byte
	for i, text := range records {
		var err error
		if want[i], err = hex.DecodeString(text); err != nil {
			return err
		}
	}
	var data [50]byte
	for i := range data {
		data[i] = byte(i)
	}
	c := NewCache(2)
	room := make([]byte, len(data)+MaxOverhead)
	copy(room[from.Prefix():], data[:])
	record := from.Seal(c, room, len(data))
	end := from.AppendAlert(c, nil, CloseNotify)
	if !bytes.Equal(record, want[0]) || !bytes.Equal(end, want[1]) {
		return errors.New("the records that are sent are wrong")
	}
	changed, victim := bytes.Clone(record), *to
	changed[len(changed)/2] ^= 1
	if _, err := victim.Open(c, changed); err == nil {
		return errors.New("a record that was changed is opened")
	}
	o, err := to.Open(c, record)
	if err != nil {
		return err
	}
	if o.Used != len(want[0]) || !bytes.Equal(o.Data, data[:]) {
		return errors.New("what is opened is wrong")
	}
	if o, err = to.Open(c, end); err != nil {
		return err
	}
	if !o.Close {
		return errors.New("close_notify is not understood")
	}
	return nil
}
