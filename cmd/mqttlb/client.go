package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/lb/admin"
)

// defaultAdmin is the default of admin.listen.
const defaultAdmin = "127.0.0.1:8404"

// clientTimeout bounds one call of a running process: a reload may read files from a slow disk.
const clientTimeout = 45 * time.Second

// maxAnswer bounds what is read of an answer: thousands of servers fit.
const maxAnswer = 64 << 20

// A client talks to a running process.
type client struct {
	admin     *string // "host:port" or "unix:/path"
	tokenFile *string
}

// addClient gives a command its --admin and --token-file.
func addClient(cmd *cobra.Command) client {
	return client{
		admin: cmd.Flags().String("admin", cmp.Or(os.Getenv("MQTTLB_ADMIN"), defaultAdmin),
			"address of the running process: host, host:port, or unix:/path (environment: MQTTLB_ADMIN)"),
		tokenFile: cmd.Flags().String("token-file", os.Getenv("MQTTLB_TOKEN_FILE"),
			"file with the bearer token, where admin.token_file is set (environment: MQTTLB_TOKEN_FILE)"),
	}
}

// call sends a request and decodes the answer into into, whatever its status, which it returns.
func (c client) call(ctx context.Context, method, path string, into any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	host, dial := c.address()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, nil)
	if err != nil {
		return 0, fmt.Errorf("--admin %s: %w", *c.admin, err)
	}
	if *c.tokenFile != "" {
		token, err := readToken(*c.tokenFile)
		if err != nil {
			return 0, fmt.Errorf("--token-file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, fmt.Errorf("reach the running process at %s: %w; is it running, and is this its admin.listen? --admin or MQTTLB_ADMIN say another", *c.admin, err)
	}
	defer resp.Body.Close()
	err = decode(resp, into)
	if resp.StatusCode == http.StatusUnauthorized {
		err = fmt.Errorf("%w; --token-file or MQTTLB_TOKEN_FILE names it", err)
	}
	return resp.StatusCode, err
}

// readToken reads the one line of a token file. What else a file holds, a key say, is not shown.
func readToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f }) { // nor would HTTP carry it
		return "", fmt.Errorf("%s holds no token: one line is expected", path)
	}
	return token, nil
}

// decode reads an answer: what was asked for, or why it was not done.
func decode(resp *http.Response, into any) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusUnprocessableEntity:
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("the answer is not mqttlb's (%w): is another program listening there?", err)
		}
		return nil
	}
	var why admin.Failure
	if json.Unmarshal(text, &why) != nil || why.Error == "" {
		return fmt.Errorf("the answer is %s, which is not mqttlb's: is another program listening there?", resp.Status)
	}
	return errors.New(why.Error)
}

// address returns the host to name in a request, and how to get there. What people have at hand will do, too: a URL,
// a host alone, the path of a socket.
func (c client) address() (host string, dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	var d net.Dialer
	path, unix := strings.CutPrefix(*c.admin, "unix:")
	if unix || strings.HasPrefix(path, "/") {
		return "localhost", func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }
	}
	host = strings.TrimSuffix(strings.TrimPrefix(*c.admin, "http://"), "/")
	if _, _, err := net.SplitHostPort(host); err != nil {
		_, port, _ := net.SplitHostPort(defaultAdmin)
		host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	return host, d.DialContext
}

func reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Ask the running process to read its configuration again, and print what came of it",
		Args:  cobra.NoArgs,
	}
	c := addClient(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var answer admin.Reload
		status, err := c.call(cmd.Context(), http.MethodPost, "/api/v1/reload", &answer)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			for _, line := range answer.Problems {
				fmt.Fprintln(cmd.ErrOrStderr(), line)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "refused: the old configuration goes on")
			return errSaid
		}
		if len(answer.Changes) == 0 {
			answer.Changes = []string{"nothing to do"}
		}
		for _, line := range answer.Changes {
			fmt.Fprintln(cmd.OutOrStdout(), line)
		}
		return nil
	}
	return cmd
}
