package config

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks bounds the symbolic links on the way to a file, as Linux does (path_resolution(7)).
const maxLinks = 40

// trail returns the entries of folders that decide which file an absolute path leads to: every
// symbolic link on the way and the file at its end, or the first entry that is missing. The
// folders in the results are free of links themselves. Kubernetes' mounts have three such entries:
//
//	/etc/mqttlb/mqttlb.yaml       → ..data/mqttlb.yaml
//	/etc/mqttlb/..data            → ..2026_01_31
//	/etc/mqttlb/..2026_01_31/mqttlb.yaml
func trail(path string) []string {
	var entries []string
	folder := string(filepath.Separator)
	rest := split(path)
	for links := 0; len(rest) > 0 && links <= maxLinks; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			folder = filepath.Dir(folder)
			continue
		}
		entry := filepath.Join(folder, name)
		info, err := os.Lstat(entry)
		switch {
		case err != nil:
			return append(entries, entry)
		case info.Mode()&os.ModeSymlink == 0 && len(rest) > 0:
			folder = entry
			continue
		case info.Mode()&os.ModeSymlink == 0:
			return append(entries, entry)
		}
		links++
		entries = append(entries, entry)
		target, err := os.Readlink(entry)
		if err != nil {
			return entries
		}
		if filepath.IsAbs(target) {
			folder = string(filepath.Separator)
		}
		rest = append(split(target), rest...)
	}
	return entries
}

// split returns the parts of a path, in order. It does not clean it: a/.. is not nothing when a
// is a link.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}

// fingerprint returns the sum of what the file holds now; zero when it cannot be read. It is not
// ok for what has no content to compare, such as the pipe that a configuration was read from.
func fingerprint(path string) (now sum, ok bool) {
	text, err := readFile(path)
	switch {
	case errors.Is(err, errNotRegular):
		return sum{}, false
	case err != nil:
		return sum{}, true
	default:
		return sha256.Sum256(text), true
	}
}
