package proc

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on every architecture that Go knows (proc_pid_stat(5),
// time(7)).
const tick = 10 * time.Millisecond

// Use is what processes have used up to now, and hold now.
type Use struct {
	At  time.Time     // when it was read
	CPU time.Duration // user and system time since their start, in steps of 10 ms
	PSS int64         // bytes: private memory, and of shared memory their part (proc_pid_smaps(5))

	// Anonymous is bytes in RAM that no file holds: heaps, stacks, and what else a program has asked for (proc_pid_smaps(5); RssAnon
	// of proc_pid_status(5), to the page). What several processes share counts for each.
	Anonymous int64
}

// Read adds up what the processes use. The error names the process that could not be read: it has ended, most often, or belongs to
// another user.
func Read(pids []int) (Use, error) {
	u := Use{At: time.Now()}
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return u, fmt.Errorf("read the CPU time of process %d, does it still run? %w", pid, err)
		}
		s, err := parseStat(stat)
		if err != nil {
			return u, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
		}
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return u, fmt.Errorf("read the memory of process %d, is it this user's? %w", pid, err)
		}
		pss, err := parseRollup(rollup, "Pss")
		if err != nil {
			return u, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		anonymous, err := parseRollup(rollup, "Anonymous")
		if err != nil {
			return u, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		u.CPU += s.cpu
		u.PSS += pss
		u.Anonymous += anonymous
	}
	return u, nil
}

// Tree returns pid and all processes that descend from it, in order.
func Tree(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for the children of process %d: %w", pid, err)
	}
	children := make(map[int][]int)
	found := false
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		s, err := parseStat(text)
		if err != nil {
			return nil, fmt.Errorf("look for the children of process %d: %w", pid, err)
		}
		children[s.parent] = append(children[s.parent], p)
		found = found || p == pid
	}
	if !found {
		return nil, fmt.Errorf("there is no process %d", pid)
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	slices.Sort(tree)
	return tree, nil
}

type stat struct {
	parent int
	cpu    time.Duration
}

// parseStat reads /proc/PID/stat (proc_pid_stat(5)): field 4 is the parent, 14 and 15 are user and system time. Field 2, the program's
// name in parentheses, may have anything in it, parentheses and blanks too.
func parseStat(text []byte) (stat, error) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("%q has no name in parentheses", text)
	}
	fields := bytes.Fields(text[end+1:]) // from field 3 on
	if len(fields) < 13 {
		return stat{}, fmt.Errorf("%q has too few fields", text)
	}
	parent, err := strconv.Atoi(string(fields[4-3]))
	if err != nil {
		return stat{}, fmt.Errorf("parent %q is no number", fields[4-3])
	}
	var sum uint64
	for _, f := range fields[14-3 : 15-3+1] {
		n, err := strconv.ParseUint(string(f), 10, 53)
		if err != nil {
			return stat{}, fmt.Errorf("time %q is no number", f)
		}
		sum += n
	}
	return stat{parent: parent, cpu: time.Duration(sum) * tick}, nil
}

// parseRollup finds the line "name:    123 kB" of /proc/PID/smaps_rollup, and returns bytes.
func parseRollup(text []byte, name string) (int64, error) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(name+":"))
		if !ok {
			continue
		}
		value, ok := bytes.CutSuffix(bytes.TrimSpace(rest), []byte(" kB"))
		if !ok {
			return 0, fmt.Errorf("%q is not in kB", line)
		}
		kb, err := strconv.ParseUint(string(value), 10, 43)
		if err != nil {
			return 0, fmt.Errorf("%q is no number", value)
		}
		return int64(kb) << 10, nil
	}
	return 0, fmt.Errorf("there is no line %s", name)
}
