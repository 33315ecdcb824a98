package integration_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

// What is published again, since no acknowledgement came, the stream has once.
func TestJetStreamHasEveryContactOnce(t *testing.T) {
	t.Parallel()
	needServices(t)
	s := newServer(t).runsNATS()
	conn, err := nats.Connect(s.address, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "leads", Subjects: []string{"wisepops.contacts"}})
	require.NoError(t, err)

	w := newWebsite(t, sandbox.Options{Contacts: 2000})
	w.set("NATS_URL=nats://" + s.address)
	g := newGate(w)
	r := w.start("tests/integration/config/leads_to_nats.yaml", resources("state_sqlite"),
		once, smallPages)
	count := func() int {
		info, err := stream.Info(t.Context())
		if err != nil {
			return 0 // it comes back
		}
		return int(info.State.Msgs)
	}
	w.survives(g, count, s.outage(r, syscall.SIGKILL))
	r.succeeds()

	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	arrived := arrivals{}
	for range count() {
		m, err := consumer.Next(jetstream.FetchMaxWait(patience))
		require.NoError(t, err)
		require.Equal(t, m.Headers().Get("Nats-Msg-Id"), arrived.read(t, m.Data()))
	}
	w.requireAll(arrived, 0)
	require.Equal(t, w.site.Len(), count(), "messages")
}

func (s *server) runsNATS() *server {
	s.t.Helper()
	return s.runs("nats-server", "-a", "127.0.0.1", "-p", s.port, "-js", "-sd", s.dir)
}
