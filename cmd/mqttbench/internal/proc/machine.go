package proc

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// A Machine is what figures depend on beside the programs.
type Machine struct {
	CPU    string `json:"cpu"`    // the model's name; the architecture where Linux does not tell
	CPUs   int    `json:"cpus"`   // that this process may use
	Memory int64  `json:"memory"` // bytes
	Kernel string `json:"kernel"` // its release
}

// ThisMachine describes this one. What cannot be read is left empty.
func ThisMachine() Machine {
	m := Machine{CPU: runtime.GOARCH, CPUs: runtime.NumCPU()}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if name := field(text, "model name"); name != "" {
			m.CPU = name
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		kb, err := strconv.ParseInt(strings.TrimSuffix(field(text, "MemTotal"), " kB"), 10, 43)
		if err == nil {
			m.Memory = kb << 10
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	return m
}

// String is a line for people.
func (m Machine) String() string {
	return fmt.Sprintf("%d × %s, %.0f GiB, Linux %s", m.CPUs, m.CPU, float64(m.Memory)/(1<<30), m.Kernel)
}

// field returns the value of the first line "name : value".
func field(text []byte, name string) string {
	for line := range bytes.Lines(text) {
		key, value, ok := strings.Cut(string(line), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
