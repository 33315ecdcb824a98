package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a run of the binary.
type process struct {
	w      *world
	cmd    *exec.Cmd
	output *watchedOutput
	ended  chan struct{}
	code   int // of the exit; -1 where a signal ended it, but for a SIGTERM that came before it was handled
}

// start starts the binary with a configuration.
func (w *world) start(conf obj) (*process, error) {
	path, err := w.write("pipeline.json", conf)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(w.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{w: w, output: &watchedOutput{log: log}, ended: make(chan struct{})}
	// Not CommandContext: how and when it ends is the point of this program.
	p.cmd = exec.Command(w.opts.binary, "run", path) //nolint:gosec,noctx // the binary under test
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		_ = log.Close()
		p.code = p.cmd.ProcessState.ExitCode()
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGTERM {
			p.code = 0
		}
		close(p.ended)
	}()
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
	p.check()
}

// terminate sends SIGTERM and waits for the end.
func (p *process) terminate(most time.Duration) (inTime bool) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait(most)
}

// launches waits until the binary handles signals: one that came before would be as
// good as a kill.
func (p *process) launches() {
	p.w.await("the binary to start", func() bool { return p.output.hasLaunched() || !p.running() })
}

// wait waits for the end, and prints the goroutines of a process that does not come
// to it.
func (p *process) wait(most time.Duration) (inTime bool) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-p.ended:
		inTime = true
	case <-p.w.ctx.Done():
		p.kill()
	case <-timer.C:
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.ended
		p.w.problem("the binary did not end within %s", most)
	}
	p.check()
	return inTime
}

// check looks at what was printed, once the process is dead.
func (p *process) check() {
	if private := p.output.private(); private != "" {
		p.w.problem("the binary printed something private: …%s…", private)
	}
	if strings.Contains(p.output.tail(), "panic:") {
		p.w.problem("the binary panicked:\n%s", p.output.tail())
	}
}

// memory is the resident memory in KiB.
func (p *process) memory() (kib int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	_, err = fmt.Sscan(rest, &kib)
	return kib, err
}

// markers are what no log may hold: every email address of the service is in one of
// these domains.
var markers = []string{
	"KEYMARKER", "RECEIPTMARKER", "@example.", "@mail.example", "@shop.example",
	"collected_after=", "page_size=", "WISEPOPS-API", "form_session",
}

// watchedOutput passes on what is written, keeps its end, and looks for markers in all
// of it.
type watchedOutput struct {
	log      io.Writer
	launched bool // it has come to the point where it handles signals

	mu    sync.Mutex
	last  []byte
	found string
}

const outputKept = 32 << 10

func (o *watchedOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	const longestMarker = 32
	overlap := min(len(o.last), longestMarker)
	fresh := len(o.last) - overlap
	o.last = append(o.last, p...)
	o.launched = o.launched || bytes.Contains(o.last[fresh:], []byte("Launching a Wisepops"))
	for _, m := range markers {
		if i := bytes.Index(o.last[fresh:], []byte(m)); i >= 0 && o.found == "" {
			i += fresh
			o.found = string(o.last[max(0, i-200):min(len(o.last), i+200)])
		}
	}
	if len(o.last) > 2*outputKept {
		o.last = append([]byte(nil), o.last[len(o.last)-outputKept:]...)
	}
	return o.log.Write(p)
}

func (o *watchedOutput) hasLaunched() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.launched
}

func (o *watchedOutput) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.last[max(0, len(o.last)-6000):])
}

func (o *watchedOutput) private() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.found
}
