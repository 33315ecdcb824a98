package integration_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/tests/freeport"
)

// program finds what is not in the PATH of every user, too.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	for _, folder := range []string{"/usr/sbin", "/usr/lib/postgresql/*/bin", "/usr/lib/rabbitmq/bin"} {
		if found, _ := filepath.Glob(filepath.Join(folder, name)); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	require.FailNow(t, name+" must be installed, see .ci/services")
	return ""
}

// server is a server of one test, with its own port and data, which can be stopped
// and started.
type server struct {
	t       *testing.T
	dir     string
	port    string
	address string
	command func() *exec.Cmd
	ready   func() bool    // by default it is once its port answers
	last    syscall.Signal // what ends it with the test, by default SIGKILL

	output buffer
	ended  chan struct{} // closed when the process has ended
	cmd    *exec.Cmd
}

func newServer(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "server") //nolint:usetesting // no other user gets into that of t.TempDir
	require.NoError(t, err)
	s := &server{t: t, dir: dir, port: freePort(t), last: syscall.SIGKILL}
	s.address = net.JoinHostPort("127.0.0.1", s.port)
	s.ready = func() bool { return answers(s.address) }
	t.Cleanup(func() {
		if s.cmd != nil {
			s.stop(s.last)
		}
		if t.Failed() {
			t.Logf("the server printed:\n%s", tail(s.output.String()))
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	return s
}

// runs starts the server, with a command that is the same each time.
func (s *server) runs(name string, args ...string) *server {
	s.t.Helper()
	path := program(s.t, name)
	s.command = func() *exec.Cmd { return exec.Command(path, args...) }
	s.start()
	return s
}

func (s *server) start() {
	s.t.Helper()
	cmd := s.command()
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // it does not outlive a test that is killed
	require.NoError(s.t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.cmd, s.ended = cmd, ended
	eventually(s.t, "the server answers", func() bool { return s.hasEnded() || s.ready() })
	require.False(s.t, s.hasEnded(), "the server ended at once")
}

func (s *server) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// stop ends the server with a signal, and waits until it is gone.
func (s *server) stop(sig syscall.Signal) {
	s.t.Helper()
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.ended:
		s.cmd = nil
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		require.FailNow(s.t, "the server does not stop")
	}
}

// notAsRoot gives the server's folder to a user of the system, as whom commands then
// run, where the tests run as root.
func (s *server) notAsRoot(name string) (as func(*exec.Cmd) *exec.Cmd) {
	s.t.Helper()
	credential := &syscall.Credential{}
	if os.Geteuid() == 0 {
		u, err := user.Lookup(name)
		require.NoError(s.t, err)
		uid, err := strconv.Atoi(u.Uid)
		require.NoError(s.t, err)
		gid, err := strconv.Atoi(u.Gid)
		require.NoError(s.t, err)
		require.NoError(s.t, os.Chown(s.dir, uid, gid))
		credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Dir = s.dir
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		}
		return cmd
	}
}

func answers(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := freeport.Get(t.Context())
	require.NoError(t, err)
	return port
}

// outage is a time during which a server is away.
type outage struct {
	begin func()
	// noticed reports whether the pipeline has run into it since it began.
	noticed func() bool
	end     func()
}

// outage stops the server with a signal and starts it again.
func (s *server) outage(r *run, sig syscall.Signal) outage {
	before := 0
	return outage{
		begin: func() {
			s.stop(sig)
			before = r.complaints()
		},
		noticed: func() bool { return r.complaints() > before },
		end:     s.start,
	}
}

// Pages are small where servers go away, so that there are many.
const (
	pageSize   = 100
	smallPages = "input.wisepops_contacts.page_size=100"
)

// survives leads a run through outages. Each begins once contacts of the pages before
// it arrive, and has pages of its own to deliver; those after the last outage are read
// when its server is back.
func (w *website) survives(g *gate, arrived func() int, outages ...outage) {
	w.t.Helper()
	pages := w.site.Len() / pageSize / (len(outages) + 1)
	for i, o := range outages {
		g.open(pages)
		eventually(w.t, "contacts arrive", func() bool { return arrived() > i*(pages+1)*pageSize })
		o.begin()
		g.open(1)
		eventually(w.t, "the pipeline notices", o.noticed)
		o.end()
	}
	g.open(w.site.Len())
}

// gate holds back the pages of contacts beyond those that it is opened for.
type gate struct {
	site *sandbox.Service

	mu     sync.Mutex
	asked  int
	opened int
}

func newGate(w *website) *gate {
	g := &gate{site: w.site}
	w.site.Control(func(r *http.Request) *sandbox.Fault {
		if r.Method != http.MethodGet {
			return nil
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.asked++
		return &sandbox.Fault{Hang: g.asked > g.opened}
	})
	return g
}

// open lets further pages through.
func (g *gate) open(pages int) {
	g.mu.Lock()
	g.opened += pages
	g.mu.Unlock()
	// Who asked before and is held back is the first of them.
	g.site.Release()
}
