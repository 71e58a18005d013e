package access

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks bounds the symbolic links on the way to a file, as Linux does (path_resolution(7)).
const maxLinks = 40

// trail returns the entries of folders that decide which file an absolute path leads to: each symbolic link
// on the way, and what is at its end or the first that is missing. The folders in them are free of links. Where
// Kubernetes mounts a secret there are three:
//
//	/etc/mqtt/users           → ..data/users
//	/etc/mqtt/..data          → ..2026_01_31
//	/etc/mqtt/..2026_01_31/users
func trail(path string) (entries []string) {
	folder, rest := "/", path
	for links := 0; rest != "" && links <= maxLinks; {
		var part string
		part, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		switch part {
		case "", ".":
			continue
		case "..":
			folder = filepath.Dir(folder)
			continue
		}
		entry := filepath.Join(folder, part)
		info, err := os.Lstat(entry)
		switch {
		case err != nil, info.Mode()&os.ModeSymlink == 0 && strings.Trim(rest, "/") == "":
			return append(entries, entry)
		case info.Mode()&os.ModeSymlink == 0:
			folder = entry
			continue
		}
		links++
		entries = append(entries, entry)
		target, err := os.Readlink(entry)
		if err != nil {
			return entries // gone again: the folder's watch will tell
		}
		if filepath.IsAbs(target) {
			folder = "/"
		}
		rest = target + "/" + rest
	}
	return entries
}
