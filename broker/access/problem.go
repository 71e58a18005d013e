package access

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
)

const (
	// maxFile bounds a users file and an ACL file, in bytes. A user takes about 80 bytes in either: there is room for
	// 800,000 of them, and none for the disk image that was named by mistake.
	maxFile = 64 << 20

	// maxProblems bounds what one bad file can make us keep and print. Nobody reads further.
	maxProblems = 1000
)

// A Problem is one thing that is wrong with a users file or an ACL file. It never has a password or a hash in it.
type Problem struct {
	File string // as the operator named it
	Line int    // from 1; 0 when it is about the whole file
	What string // what is wrong, and what to try
}

// String returns the problem as FILE:LINE: what is wrong.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.What
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.What)
}

// Problems is the error of Load: everything that is wrong, the users file's first, by line. Reach it with errors.As.
type Problems []Problem

// Error returns one line for each problem, without a newline at the end.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// A report collects the problems of one file.
type report struct {
	file string
	list Problems
}

// addf notes what is wrong with a line.
func (r *report) addf(line int, format string, args ...any) {
	if len(r.list) < maxProblems {
		r.list = append(r.list, Problem{r.file, line, fmt.Sprintf(format, args...)})
	}
}

// read returns what a file holds, or nothing and notes why.
func (r *report) read() string {
	var text strings.Builder
	err := copyFile(&text, r.file)
	switch {
	case err != nil:
		r.addf(0, "cannot be read: %v", err)
	case text.Len() > maxFile:
		r.addf(0, "is larger than %d MiB: is it the right file?", maxFile>>20)
	default:
		return text.String()
	}
	return ""
}

// copyFile copies a file to w, up to one byte more than maxFile. What is not a regular file is an error: opening
// a pipe would wait for its other end.
func copyFile(w io.Writer, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return cause(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return cause(err)
	}
	defer f.Close()
	_, err = io.Copy(w, io.LimitReader(f, maxFile+1))
	return cause(err)
}

// cause is err without the path, which whoever tells of it names already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// lines yields the lines of a file that say something, by number, without blanks at their ends: neither empty ones
// nor those that begin with #. A byte order mark, which editors of Windows put at the beginning, is not part of a line.
func lines(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		number := 0
		for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
			number++
			line = strings.TrimRight(line, blanks)
			if said := strings.TrimLeft(line, blanks); said == "" || said[0] == '#' {
				continue
			}
			if !yield(number, line) {
				return
			}
		}
	}
}

// blanks are what separates words; the carriage return is of files from Windows.
const blanks = " \t\r"
