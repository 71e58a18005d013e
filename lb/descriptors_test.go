package lb_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/lb"
)

// The test binary is also the processes of this test: a limit of descriptors is a process's.
const (
	roleVariable = "MQTTLB_TEST_ROLE"
	roleBalancer = "balancer" // arguments: configuration, descriptors
	roleStranger = "stranger" // arguments: address, connections
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVariable) {
	case roleBalancer:
		err = beBalancer(os.Args[1], os.Args[2])
	case roleStranger:
		err = beStrangers(os.Args[1], os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// report is what a balancer answers to each line on its standard input.
type report struct {
	Address     string
	Descriptors int
	Status      lb.Status
}

// beBalancer serves with few descriptors until its standard input ends.
func beBalancer(path, descriptorLimit string) error {
	var limit uint64
	if _, err := fmt.Sscan(descriptorLimit, &limit); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	srv, err := lb.New(lb.Options{Path: path, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	<-srv.Ready()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := json.NewEncoder(os.Stdout).Encode(report{srv.Addr("mqtt"), descriptors(), srv.Status()}); err != nil {
			return err
		}
	}
	cancel()
	return <-ended
}

// beStrangers opens n connections at once, each with a CONNECT, and says how many were answered. They are
// held until the standard input ends.
func beStrangers(address, n string) error {
	var count int
	if _, err := fmt.Sscan(n, &count); err != nil {
		return err
	}
	var (
		answered atomic.Int64
		tried    sync.WaitGroup
		hold     = make(chan struct{})
	)
	for range count {
		tried.Add(1)
		go func() {
			done := sync.OnceFunc(tried.Done)
			defer done()
			c, err := net.DialTimeout("tcp", address, 5*time.Second)
			if err != nil {
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.WriteString(c, connectPacket); err != nil {
				return
			}
			if _, err := io.ReadFull(c, make([]byte, len(connack))); err != nil {
				return
			}
			answered.Add(1)
			done()
			<-hold
		}()
	}
	tried.Wait()
	fmt.Println(answered.Load())
	io.Copy(io.Discard, os.Stdin)
	close(hold)
	return nil
}

// A process is this test's binary in a role.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	log *lockedBuffer
}

func startRole(t *testing.T, role string, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(exe, args...), log: &lockedBuffer{}}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p.cmd.Stderr = p.log
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill() // nothing when it has ended
		p.cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", role, p.log.tail(4<<10))
		}
	})
	return p
}

// end closes the process's standard input and waits for it.
func (p *process) end() {
	p.t.Helper()
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("a process ended with %v", err)
	}
}

func (p *process) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("read from a process: %v", err)
	}
	return line
}

func (p *process) report() report {
	p.t.Helper()
	var r report
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(p.line()), &r); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// settled returns a report once the balancer has opened what it opens at its start.
func (p *process) settled() report {
	p.t.Helper()
	last, same := p.report(), 0
	eventually(p.t, "a balancer at rest", func() bool {
		next := p.report()
		if same++; next.Descriptors != last.Descriptors {
			same = 0
		}
		last = next
		return same == 50
	})
	return last
}

// More than twice as many clients as there are descriptors: those who are in are served on, the others wait in
// the kernel's queue, and when the crowd has gone everything is as before.
func TestMoreClientsThanDescriptors(t *testing.T) {
	const (
		limit     = 900
		strangers = 2000
		processes = 2
	)
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.write(strings.Replace(config(servers(n)), "connections: all", "connections: none", 1))
	balancer := startRole(t, roleBalancer, r.path, fmt.Sprint(limit))
	before := balancer.settled()

	neighbour := dialConnect(t, before.Address)
	var crowds []*process
	for range processes {
		crowds = append(crowds, startRole(t, roleStranger, before.Address, fmt.Sprint(strangers/processes)))
	}
	answered := 0
	for _, c := range crowds {
		var n int
		if _, err := fmt.Sscan(c.line(), &n); err != nil {
			t.Fatal(err)
		}
		answered += n
	}
	during := balancer.report()
	t.Logf("%d of %d strangers answered with %d descriptors, %d open then", answered, strangers, limit, during.Descriptors)
	if answered == 0 || answered >= limit/2 || during.Descriptors > limit {
		t.Errorf("%d strangers were answered with %d descriptors", answered, limit)
	}
	send(t, neighbour, "served on")
	expect(t, neighbour, "served on")

	for _, c := range crowds {
		c.end()
	}
	eventually(t, "the crowd gone", func() bool { return balancer.report().Status.Listeners[1].Connections == 1 })
	after := dialConnect(t, before.Address)
	send(t, after, "newcomer")
	expect(t, after, "newcomer")
	after.Close()
	neighbour.Close()
	eventually(t, "descriptors as before", func() bool { return balancer.report().Descriptors <= before.Descriptors })
	ended := balancer.report().Status.Listeners[1].Ended
	if ended["no_descriptors"] != 0 || ended["client_close"] < uint64(answered) {
		t.Errorf("ended %v", ended)
	}
	balancer.end()
}

// dialConnect connects and completes CONNECT.
func dialConnect(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	send(t, c, connectPacket)
	expect(t, c, connack)
	return c
}
