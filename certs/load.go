package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Pair names the files of one chain and its private key.
type Pair struct {
	// Cert is the path of the chain: the leaf first, then its issuers.
	Cert string
	// Key is the path of the leaf's private key. Empty means that it is in Cert, before, between or
	// after the certificates, as in the file of HAProxy's crt.
	Key string
}

// A Problem is one thing that is wrong with one file of one pair.
type Problem struct {
	Pair int    // index into what was given to Load
	Key  bool   // the file is the pair's Key; otherwise its Cert
	Path string // of the file, as it was given
	Err  error  // what is wrong and what to do
}

// Error returns the path and what is wrong with the file. It never contains key bytes.
func (p *Problem) Error() string { return p.Path + ": " + p.Err.Error() }

// Unwrap returns what is wrong, for instance an error that is fs.ErrNotExist.
func (p *Problem) Unwrap() error { return p.Err }

// maxPEM bounds what is read of a file of certificates, in bytes. The bundle of all the public
// authorities is 0.25 MB; a CA file of ten times that is possible, more is the wrong file.
const maxPEM = 4 << 20

// Load reads all pairs and checks them as of now. The error joins every problem of every pair;
// each part of it (see errors.Join) is a *Problem, except where pairs is empty.
func Load(pairs []Pair, now time.Time) (*Set, error) {
	if len(pairs) == 0 {
		return nil, errors.New("no certificate: name at least one")
	}
	var (
		chains   []*tls.Certificate
		problems []error
	)
	for i, p := range pairs {
		l := loader{pair: i, files: p}
		if chain := l.load(now); chain != nil {
			chains = append(chains, chain)
		}
		problems = append(problems, l.problems...)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return newSet(chains), nil
}

// loader collects what is wrong with one pair.
type loader struct {
	pair     int
	files    Pair
	problems []error // all of them *Problem
}

func (l *loader) problem(key bool, errs ...error) {
	path := l.files.Cert
	if key {
		path = l.files.Key
	}
	for _, err := range errs {
		l.problems = append(l.problems, &Problem{Pair: l.pair, Key: key, Path: path, Err: err})
	}
}

// load returns the pair as crypto/tls wants it. It is usable only if there are no problems.
func (l *loader) load(now time.Time) *tls.Certificate {
	chainFile, certsOK := l.read(false)
	keyFile, keysOK := chainFile, certsOK
	if l.files.Key != "" {
		keyFile, keysOK = l.read(true)
	}
	certsOK = certsOK && l.checkCerts(chainFile)
	keysOK = keysOK && l.checkKeys(keyFile)
	if !certsOK {
		return nil
	}
	certs := chainFile.certs
	l.problem(false, checkValidity(certs, now)...)
	if err := checkKeyType(certs[0]); err != nil {
		l.problem(false, err)
	}
	key, at := match(certs, keyFile.keys)
	if at <= 0 { // otherwise what is first is no leaf, and saying so is enough
		l.problem(false, checkOrder(certs)...)
	}
	switch {
	case !keysOK:
		return nil
	case at < 0:
		l.problem(l.files.Key != "", fmt.Errorf("the private key does not belong to certificate %s of %s: "+
			"take the key which that certificate was requested with", name(certs[0]), l.files.Cert))
		return nil
	case at > 0:
		l.problem(false, fmt.Errorf("the private key belongs to certificate %d %s, not to the first: "+
			"put the server's own certificate first, its issuers after it", at+1, name(certs[at])))
		return nil
	}
	chain := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, c := range certs {
		chain.Certificate = append(chain.Certificate, c.Raw)
	}
	return chain
}

// read reads and parses the pair's Key or its Cert. It reports whether all blocks of it are whole.
func (l *loader) read(key bool) (blocks, bool) {
	path := l.files.Cert
	if key {
		path = l.files.Key
	}
	data, err := readFile(path, maxPEM)
	if err != nil {
		l.problem(key, err)
		return blocks{}, false
	}
	b := parse(data)
	l.problem(key, b.damage...)
	return b, len(b.damage) == 0
}

// checkCerts reports whether b, which is of the pair's Cert, has certificates, and all can be used.
func (l *loader) checkCerts(b blocks) bool {
	if len(b.certs)+len(b.certErrs) == 0 {
		l.problem(false, b.missing(typeCertificate, "the file must hold the server's certificate, then its issuers"))
		return false
	}
	l.problem(false, b.certErrs...)
	return len(b.certErrs) == 0
}

// checkKeys reports whether b, which is of the file that should have the key, has one that can be used.
func (l *loader) checkKeys(b blocks) bool {
	inKey := l.files.Key != ""
	switch {
	case len(b.keyErrs) > 0:
		l.problem(inKey, b.keyErrs...)
	case len(b.keys) > 0:
		return true
	case inKey:
		l.problem(true, b.missing(typePKCS8, "the file must hold the private key of "+l.files.Cert))
	default:
		l.problem(false, errors.New("no private key: append it to this file, or name the file that holds it"))
	}
	return false
}

// readFile returns the content of a regular file of at most limit bytes. Its errors say what to do
// and leave the path to the caller.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path) // before Open, which would wait for the other end of a named pipe
	if err != nil {
		return nil, fileError(err)
	}
	if info.IsDir() {
		return nil, errors.New("is a folder: name each file in it by itself")
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file: copy its content into one")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileError(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("is larger than %d MiB: this is not the file that was meant", limit>>20)
	}
	return data, nil
}

// fileError takes the path, which its caller prints anyway, out of an error of package os.
func fileError(err error) error {
	cause := err
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		cause = p.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: check the path", cause)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: make it readable for the user that runs this program", cause)
	}
	return fmt.Errorf("read: %w", cause)
}
