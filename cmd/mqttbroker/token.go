package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/mqttlb/mqttlb/broker/config"
)

// maxToken bounds a token, in bytes: far beyond any that was drawn, and well within what the pages take of a header.
const maxToken = 1 << 10

// tokens are what visitors of the node's pages must have; "" where none is wanted.
type tokens struct{ api, dashboard string }

// readTokens reads the files that a configuration names. The error is config.Problems.
func readTokens(c *config.Config) (tokens, error) {
	var problems config.Problems
	read := func(section string, h config.HTTP) string {
		if h.TokenFile == "" {
			return ""
		}
		token, err := readToken(h.TokenFile)
		if err != nil {
			problems = append(problems, c.Problem(section+".token_file", err))
		}
		return token
	}
	t := tokens{api: read("api", c.API), dashboard: read("dashboard", c.Dashboard)}
	if len(problems) > 0 {
		return tokens{}, problems
	}
	return t, nil
}

// changed names the keys whose files hold something else than those of before did.
func (t tokens) changed(before tokens) (keys []string) {
	if t.api != before.api {
		keys = append(keys, "api.token_file")
	}
	if t.dashboard != before.dashboard {
		keys = append(keys, "dashboard.token_file")
	}
	return keys
}

// readToken reads a file with a token and nothing else; blanks and line ends around it do not count. The error does not
// name the file: who writes the token in the place of its path would find it in the log.
func readToken(path string) (string, error) {
	const draw = "write a long random word into it, such as the output of `openssl rand -hex 32`"
	text, err := readSmall(path)
	token := bytes.TrimSpace(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("there is no file of that name; a relative one starts at the folder of the configuration")
	case err != nil:
		return "", fmt.Errorf("the file cannot be read: %w", cause(err))
	case len(token) == 0:
		return "", errors.New("the file is empty: " + draw)
	case len(token) > maxToken || bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		// Of several words, no header could carry the token (RFC 6750, section 2.1).
		return "", fmt.Errorf("the file does not hold one word of at most %d visible ASCII characters: %s", maxToken, draw)
	}
	return string(token), nil
}

// readSmall reads a regular file, with room for blanks around a token: opening a pipe would wait for its other end.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 2*maxToken))
}

// cause is err without the path.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
