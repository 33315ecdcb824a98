package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestRabbitMQStoppedInTheMiddleLosesNothing(t *testing.T) {
	t.Parallel()
	needServices(t)
	s := newRabbitMQ(t)
	url := "amqp://guest:guest@" + s.address + "/"
	var client *amqp.Connection
	t.Cleanup(func() {
		if client != nil {
			_ = client.Close()
		}
	})
	channel := func() *amqp.Channel {
		var err error
		if client == nil || client.IsClosed() {
			client, err = amqp.Dial(url)
			require.NoError(t, err)
		}
		ch, err := client.Channel()
		require.NoError(t, err)
		return ch
	}
	ch := channel()
	_, err := ch.QueueDeclare("wisepops_contacts", true, false, false, false, nil)
	require.NoError(t, err)

	w := newWebsite(t, sandbox.Options{Contacts: 2000})
	w.set("AMQP_URL=" + url)
	g := newGate(w)
	r := w.start("tests/integration/config/leads_to_rabbitmq.yaml", resources("state_sqlite"),
		once, smallPages)
	waiting := func() int {
		q, err := ch.QueueDeclarePassive("wisepops_contacts", true, false, false, false, nil)
		require.NoError(t, err)
		return q.Messages
	}
	// A kill may lose the queue itself, for seconds after it was declared.
	w.survives(g, waiting, s.outage(r, syscall.SIGTERM))
	r.succeeds()

	ch = channel()
	arrived := arrivals{}
	for {
		m, ok, err := ch.Get("wisepops_contacts", true)
		require.NoError(t, err)
		if !ok {
			break
		}
		require.Equal(t, m.MessageId, arrived.read(t, m.Body))
	}
	w.requireAll(arrived, 0)
}

// newRabbitMQ starts a node by itself, known to no other.
func newRabbitMQ(t *testing.T) *server {
	t.Helper()
	// Erlang leaves the one that it starts behind.
	names := newServer(t)
	names.runs("epmd", "-address", "127.0.0.1", "-port", names.port)

	s := newServer(t)
	path := program(t, "rabbitmq-server")
	// Debian's own starts the node as another user.
	if direct := "/usr/lib/rabbitmq/bin/rabbitmq-server"; fileExists(direct) {
		path = direct
	}
	none := filepath.Join(s.dir, "none")
	s.command = func() *exec.Cmd {
		cmd := exec.Command(path)
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(),
			"RUNNING_UNDER_SYSTEMD=1", // the node is the process that is started
			"HOME="+s.dir,
			"ERL_EPMD_ADDRESS=127.0.0.1",
			"ERL_EPMD_PORT="+names.port,
			"RABBITMQ_NODENAME=wisepops@localhost",
			"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
			"RABBITMQ_NODE_PORT="+s.port,
			"RABBITMQ_DIST_PORT="+freePort(t),
			"RABBITMQ_MNESIA_BASE="+filepath.Join(s.dir, "data"),
			"RABBITMQ_LOG_BASE="+filepath.Join(s.dir, "log"),
			"RABBITMQ_LOGS=-",
			"RABBITMQ_GENERATED_CONFIG_DIR="+filepath.Join(s.dir, "generated"),
			"RABBITMQ_ENABLED_PLUGINS_FILE="+none,
			"RABBITMQ_CONF_ENV_FILE="+none,
			"RABBITMQ_CONFIG_FILE="+none,
		)
		return cmd
	}
	s.start()
	return s
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
