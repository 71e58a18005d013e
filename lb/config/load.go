package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// Load reads the configuration in the file at path and everything that it names. It returns a
// valid Config, or Problems that holds all that is wrong. It only reads; any goroutine may call it.
func Load(path string) (*Config, error) {
	text, err := readText(path)
	if err != nil {
		return nil, Problems{{File: path, What: whyUnread(err) + "; name the configuration with -c FILE"}}
	}
	return Parse(path, text, readFile)
}

// Parse is Load for a text that is in memory already. The path says what relative paths are
// relative to; read returns the content of the files that the text names and their errors, as
// os.ReadFile does, and is called at most once for each.
func Parse(path string, text []byte, read func(path string) ([]byte, error)) (*Config, error) {
	file, err := filepath.Abs(path)
	if err != nil {
		return nil, Problems{{File: path, What: "finding the current folder: " + err.Error()}}
	}
	doc := &document{name: path, file: file, seen: sha256.Sum256(text)}
	r := &reader{
		given:  path,
		folder: filepath.Dir(file),
		read:   read,
		docs:   []*document{doc},
		lines:  make(map[string]position),
		bad:    make(map[string]bool),
		named:  map[string]content{file: {text: text, sum: doc.seen}},
		hash:   sha256.New(),
	}
	r.hash.Write(text)
	c := r.config(doc, text)
	if len(r.problems) > 0 {
		return nil, r.sorted()
	}
	c.Path = path
	c.Files = slices.Sorted(maps.Keys(r.named))
	c.Hash = hex.EncodeToString(r.hash.Sum(nil))
	c.source = source{lines: r.lines, sums: r.sums()}
	return c, nil
}

// A reader turns texts into a Config and collects what is wrong with them. It is used once.
type reader struct {
	given  string // path of the configuration, as it was given
	folder string // that it is in, absolute
	read   func(path string) ([]byte, error)

	docs     []*document         // in the order in which they were opened
	lines    map[string]position // by path
	bad      map[string]bool     // paths of what a problem was found with
	named    map[string]content  // by absolute path: every file that was read
	hash     hash.Hash           // of the configuration and its servers files
	values   int                 // read so far, at most maxValues
	problems []Problem           // in the order in which they were found
}

// A content is what a named file held when it was read.
type content struct {
	text []byte
	sum  sum
	err  error
}

// A sum tells contents of a file apart. The zero sum stands for a file that cannot be read.
type sum [sha256.Size]byte

// sums returns the sums of the files that were read.
func (r *reader) sums() map[string]sum {
	sums := make(map[string]sum, len(r.named))
	for file, c := range r.named {
		sums[file] = c.sum
	}
	return sums
}

// open returns the root of a text, or nil after noting what is wrong: that it is no YAML, or
// empty, in the given words.
func (r *reader) open(doc *document, text []byte, empty string) *yaml.Node {
	root, err := parseYAML(text)
	switch {
	case err != nil:
		r.note(position{doc, err.line}, doc.list, err.what)
		return nil
	case root == nil:
		r.note(position{doc, 1}, doc.list, empty)
		return nil
	}
	return root
}

// file reads the path of a file, which must be there, and returns it absolute; or "" for the
// empty path. What the file holds is in r.named then.
func (v value) file() string {
	if strings.Contains(v.node.Value, "-----BEGIN") {
		v.wrong("must be the path of a file, not what it holds; save the PEM text in a file of its own")
		return ""
	}
	path, ok := v.text()
	if !ok || path == "" {
		return ""
	}
	abs := v.absolute(path)
	c, again := v.named[abs]
	if !again {
		c.text, c.err = v.read(abs)
		if c.err == nil {
			c.sum = sha256.Sum256(c.text)
		}
		v.named[abs] = c
	}
	if c.err != nil {
		what := fileCalled(path, v.asGiven(path)) + " " + whyUnread(c.err)
		if errors.Is(c.err, fs.ErrNotExist) && !filepath.IsAbs(path) {
			what += "; relative paths start at the folder of the configuration"
		}
		v.wrongFile(abs, what)
	}
	return abs
}

// fileCalled names a file by the text that was given for its path, and how it is reached. A long text
// that looks like no path may be what the file is to hold.
func fileCalled(given, reached string) string {
	if redact.Secret(given) && !filepath.IsAbs(given) && !strings.Contains(given, ".") {
		return "a file of that name (" + redact.Quote(given) + ")"
	}
	return "file " + reached
}

// requiredFile is file for a path that must not be empty.
func (v value) requiredFile() string {
	path := v.file()
	if path == "" && !v.bad[v.path] {
		v.wrong("must name a file")
	}
	return path
}

// asGiven returns a path of the configuration as it is reached from where the configuration's
// own path was given.
func (r *reader) asGiven(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(r.given), path)
}

// Reasons why a file is not read.
var (
	errNotRegular = errors.New("is not a regular file")
	errFolder     = errors.New("is a folder, not a file")
	errTooBig     = fmt.Errorf("is bigger than %d MiB", maxFile>>20)
)

// maxFile bounds the files that a configuration names. The biggest of them is a revocation
// list: 64 MiB hold more than a million entries.
const maxFile = 64 << 20

// readFile returns the content of a regular file: opening a pipe might block for ever.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errFolder
	case !info.Mode().IsRegular():
		return nil, errNotRegular
	}
	return readAtMost(path, maxFile)
}

// readText returns the content of the configuration. It may be a pipe, so that the output of
// another program can be checked.
func readText(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, errFolder
	}
	text, err := readAtMost(path, maxText+1)
	if errors.Is(err, errTooBig) {
		return text, nil // Parse says so, with its own bound
	}
	return text, err
}

// readAtMost returns the content of a file, or its beginning and errTooBig when it has more than limit bytes.
func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = errTooBig
	}
	return text, err
}

// whyUnread completes the sentence that starts with the name of a file.
func whyUnread(err error) string {
	var pathError *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user; change its owner or mode"
	case errors.As(err, &pathError):
		return "cannot be read: " + pathError.Err.Error()
	default:
		return err.Error()
	}
}
