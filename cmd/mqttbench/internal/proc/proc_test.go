package proc

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		name, text string
		want       stat
		fails      bool
	}{
		{name: "usual", text: "12 (haproxy) S 7 12 12 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 3 0 1", want: stat{7, 2 * time.Second}},
		{name: "a name like the rest", text: "12 (a) S 1 (b) R 8 12 12 0 -1 4194560 1 2 3 4 1 0 9 9", want: stat{8, 10 * time.Millisecond}},
		{name: "cut off", text: "12 (haproxy) S 7 12 12 0 -1 4194560 1 2 3 4 150", fails: true},
		{name: "no name", text: "12 haproxy S 7", fails: true},
		{name: "no number", text: "12 (haproxy) S 7 12 12 0 -1 4194560 1 2 3 4 x 50 9 9", fails: true},
		{name: "no parent", text: "12 (haproxy) S x 12 12 0 -1 4194560 1 2 3 4 1 50 9 9", fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat([]byte(tt.text))
			if (err != nil) != tt.fails || got != tt.want {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestParseRollup(t *testing.T) {
	const head = "5602d57d9000-7ffd25b87000 ---p 00000000 00:00 0   [rollup]\nRss:                1728 kB\n"
	tests := []struct {
		name, text, line string
		want             int64
		fails            bool
	}{
		{"usual", head + "Pss:                 276 kB\nPss_Dirty:           112 kB\n", "Pss", 276 << 10, false},
		{"further down", head + "Pss:                 276 kB\nPss_Anon: 1 kB\nAnonymous:           112 kB\nAnonHugePages: 2 kB\n", "Anonymous", 112 << 10, false},
		{"none", head + "Pss_Dirty:           112 kB\n", "Pss", 0, true},
		{"another unit", head + "Pss:                 276 MB\n", "Pss", 0, true},
		{"no number", head + "Pss:                 x kB\n", "Pss", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseRollup([]byte(tt.text), tt.line)
			if (err != nil) != tt.fails || got != tt.want {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
		})
	}
}

// TestReadOurselves compares what a process uses before and after it has computed and allocated.
func TestReadOurselves(t *testing.T) {
	pids := []int{os.Getpid()}
	before, err := Read(pids)
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	memory := make([]byte, size)
	deadline := time.Now().Add(time.Minute)
	for i := byte(1); ; i++ {
		for at := 0; at < size; at += 512 {
			memory[at] = i
		}
		now, err := Read(pids)
		if err != nil {
			t.Fatal(err)
		}
		if now.CPU >= before.CPU+5*tick && now.PSS > before.PSS+size/2 && now.Anonymous > before.Anonymous+size/2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("before %+v, after a minute of work on 64 MiB %+v", before, now)
		}
	}
}

func TestTree(t *testing.T) {
	child := exec.CommandContext(t.Context(), "cat") // it waits for its standard input
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := child.Process.Pid
	got, err := Tree(os.Getpid())
	if err != nil || !slices.Contains(got, pid) || !slices.Contains(got, os.Getpid()) {
		t.Errorf("the tree of %d is %v, %v; want %d in it", os.Getpid(), got, err, pid)
	}
	if got, err := Tree(pid); err != nil || !slices.Equal(got, []int{pid}) {
		t.Errorf("the tree of a child is %v, %v", got, err)
	}
	in.Close()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := Tree(pid); err == nil {
		t.Error("a process that has ended has a tree")
	}
	if _, err := Read([]int{pid}); err == nil {
		t.Error("a process that has ended uses something")
	}
}

func TestMachine(t *testing.T) {
	m := ThisMachine()
	if m.CPUs < 1 || m.CPU == "" || m.Kernel == "" || m.Memory < 1<<20 {
		t.Errorf("%+v", m)
	}
	if got := field([]byte("a\t: b\nmodel name\t: Some CPU : fast\n"), "model name"); got != "Some CPU : fast" {
		t.Errorf("%q", got)
	}
}
