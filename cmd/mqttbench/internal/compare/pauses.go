//go:build linux

package compare

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
)

// pauses asks mqttlb for the longest pause of its garbage collector, and adds it to a result.
func (f *field) pauses(ctx context.Context, r *report.Result) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.admin+"/metrics", nil)
	if err != nil {
		return err
	}
	request.Close = true // and no connection of ours remains
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask for metrics: %w", err)
	}
	defer response.Body.Close()
	seconds, err := longestPause(response.Body)
	if err != nil {
		return fmt.Errorf("ask for metrics: %w", err)
	}
	r.Add(report.GarbagePause, "ms", seconds*1000)
	return nil
}

// longestPause finds it among metrics, in seconds: the largest quantile of Go's own go_gc_duration_seconds, of the last 256 collections
// (runtime/debug.GCStats).
func longestPause(metrics io.Reader) (float64, error) {
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), `go_gc_duration_seconds{quantile="1"} `); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("go_gc_duration_seconds is not there")
}
