package command

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	// demoBudget is how many API calls a website has in 30 days.
	demoBudget = 1500

	demoPlainEvery = 3 * time.Second

	eraseLine = "\r\x1b[K"
)

// demoStatus is what the progress shows.
type demoStatus struct {
	read, known, hooked, rows, calls int
	elapsed                          time.Duration
}

// String fits into a line of 80 columns up to some ten thousand contacts.
func (s demoStatus) String() string {
	return fmt.Sprintf("%3ds  read %s of %s, by hook %s, rows %s, API calls %s of %s",
		int(s.elapsed.Seconds()), thousands(s.read), thousands(s.known), thousands(s.hooked), thousands(s.rows), thousands(s.calls), thousands(demoBudget))
}

// demoProgress prints a status that changes: on a terminal as one line that is
// redrawn, elsewhere as lines. It is safe for concurrent use.
type demoProgress struct {
	live bool

	mu     sync.Mutex
	out    io.Writer
	errOut io.Writer
	drawn  bool // the live line stands unfinished
	next   time.Duration
}

func newDemoProgress(out, errOut io.Writer) *demoProgress {
	return &demoProgress{out: out, errOut: errOut, live: canRedraw(out)}
}

// show takes a status that comes several times a second. The last one of a phase
// is always printed.
func (p *demoProgress) show(s demoStatus, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		fmt.Fprint(p.out, eraseLine+s.String())
		p.drawn = true
		return
	}
	if s.elapsed < p.next && !last {
		return
	}
	fmt.Fprintln(p.out, s)
	for p.next <= s.elapsed {
		p.next += demoPlainEvery
	}
}

// endLine leaves the live line as it stands.
func (p *demoProgress) endLine() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprintln(p.out)
		p.drawn = false
	}
}

func (p *demoProgress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}

// logs returns where the pipeline logs to, which erases the live line until it is
// drawn again.
func (p *demoProgress) logs() io.Writer {
	return demoLogs{p}
}

type demoLogs struct{ *demoProgress }

func (l demoLogs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drawn {
		fmt.Fprint(l.out, eraseLine)
		l.drawn = false
	}
	return l.errOut.Write(line)
}

// canRedraw reports whether a line can be redrawn there.
func canRedraw(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && isTerminal(f)
}

// isTerminal reports whether somebody sits there.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// thousands writes 5112 as 5,112. It takes no negative number.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
