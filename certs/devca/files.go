package devca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Files says where Write has put what.
type Files struct {
	CA        string // ca.pem: the authority, for clients to trust
	CAKey     string // ca.key
	Server    string // server.pem: the server's chain, then its key
	ServerKey string // server.key: the same key by itself

	ReusedCA       bool // the folder had an authority, which signed the server certificate
	ReplacedServer bool // the folder had a server certificate of this authority
}

func filesIn(dir string) Files {
	return Files{
		CA:        filepath.Join(dir, "ca.pem"),
		CAKey:     filepath.Join(dir, "ca.key"),
		Server:    filepath.Join(dir, "server.pem"),
		ServerKey: filepath.Join(dir, "server.key"),
	}
}

// Write makes an authority and a server certificate for hosts, localhost, 127.0.0.1 and ::1, in dir,
// which it creates with mode 0700 if need be. An authority that is there from an earlier call
// is used again; a server certificate which that authority has issued is replaced. Anything else
// under these names is an error, and stays as it is.
func Write(dir string, hosts []string, now time.Time) (Files, error) {
	files := filesIn(dir)
	ca, err := Open(dir, now)
	switch {
	case err == nil:
		files.ReusedCA = true
	case errors.Is(err, fs.ErrNotExist):
		if ca, err = New(ECDSA, now); err != nil {
			return Files{}, err
		}
	default:
		return Files{}, err
	}
	if files.ReplacedServer, err = replaceable(files, ca); err != nil {
		return Files{}, err
	}
	server, err := ca.Issue(Options{Hosts: hosts})
	if err != nil {
		return Files{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, fmt.Errorf("create folder for certificates: %w", err)
	}
	if !files.ReusedCA {
		if err := ca.write(files); err != nil {
			return Files{}, err
		}
	}
	if err := server.write(files); err != nil {
		return Files{}, err
	}
	return files, nil
}

// Open reads the authority that Write has left in dir, to issue further certificates from it; they
// count from now. The error is fs.ErrNotExist when dir holds neither ca.pem nor ca.key.
func Open(dir string, now time.Time) (*CA, error) {
	files := filesIn(dir)
	certFile, certErr := os.ReadFile(files.CA)
	keyFile, keyErr := os.ReadFile(files.CAKey)
	missing := 0
	for _, err := range []error{certErr, keyErr} {
		if errors.Is(err, fs.ErrNotExist) {
			missing++
		} else if err != nil {
			return nil, fmt.Errorf("read development CA: %w", err)
		}
	}
	const advice = "choose another folder, or remove both files to get a new CA"
	if missing == 1 {
		return nil, fmt.Errorf("%s and %s belong together, and one is missing: %s", files.CA, files.CAKey, advice)
	}
	if missing == 2 {
		return nil, fmt.Errorf("read development CA: %w", certErr)
	}
	cert := firstCert(certFile)
	key := firstKey(keyFile)
	switch {
	case cert == nil || len(cert.Subject.Organization) != 1 || cert.Subject.Organization[0] != organization || !cert.IsCA:
		return nil, fmt.Errorf("%s is not a development CA of mqttlb and is not used: choose another folder", files.CA)
	case !belongs(key, cert):
		return nil, fmt.Errorf("%s is not the key of %s: %s", files.CAKey, files.CA, advice)
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter):
		return nil, fmt.Errorf("%s is valid from %s to %s only: %s", files.CA,
			cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339), advice)
	}
	return &CA{cert: cert, key: key, now: now}, nil
}

// replaceable reports whether there are server files, all of them of ca's making; it returns an error if
// there are others.
func replaceable(files Files, ca *CA) (bool, error) {
	const advice = "it is not overwritten: move it away or choose another folder"
	certFile, certErr := os.ReadFile(files.Server)
	keyFile, keyErr := os.ReadFile(files.ServerKey)
	for _, err := range []error{certErr, keyErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look at the server certificate that is there: %w", err)
		}
	}
	cert := firstCert(certFile)
	if certErr == nil && (cert == nil || cert.CheckSignatureFrom(ca.cert) != nil) {
		return false, fmt.Errorf("%s was not issued by the CA in the same folder: %s", files.Server, advice)
	}
	if keyErr == nil && (cert == nil || !belongs(firstKey(keyFile), cert)) {
		return false, fmt.Errorf("%s is not the key of %s: %s", files.ServerKey, files.Server, advice)
	}
	return certErr == nil, nil
}

// write never replaces a file: whoever was faster keeps his authority.
func (ca *CA) write(files Files) error {
	key, err := keyPEM(ca.key)
	if err != nil {
		return err
	}
	if err := create(files.CAKey, key, 0o600); err != nil {
		return err
	}
	return create(files.CA, ca.CertPEM(), 0o644)
}

func create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write development CA: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write development CA: %w", err)
	}
	return nil
}

func (i Issued) write(files Files) error {
	both, err := i.PEM()
	if err != nil {
		return err
	}
	key, err := i.KeyPEM()
	if err != nil {
		return err
	}
	return errors.Join(replace(files.Server, both), replace(files.ServerKey, key))
}

// replace puts data at path with mode 0600, at once as far as readers can see.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write server certificate: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write server certificate: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// firstCert returns the first certificate in PEM data, nil if there is none.
func firstCert(data []byte) *x509.Certificate {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}

// firstKey returns the private key that begins PEM data, nil if it is not one of ours.
func firstKey(data []byte) crypto.Signer {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil
	}
	signer, _ := key.(crypto.Signer)
	return signer
}

// belongs reports whether key is that of cert.
func belongs(key crypto.Signer, cert *x509.Certificate) bool {
	if key == nil {
		return false
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	return err == nil && bytes.Equal(pub, cert.RawSubjectPublicKeyInfo)
}
