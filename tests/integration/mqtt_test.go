package integration_test

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestMQTTBrokerStoppedInTheMiddleLosesNothing(t *testing.T) {
	t.Parallel()
	needServices(t)
	s := newMosquitto(t)

	var mu sync.Mutex
	var messages [][]byte
	received := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(messages)
	}
	// The broker keeps for it what comes while it is away.
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + s.address).SetClientID("subscriber").
		SetCleanSession(false).SetResumeSubs(true).SetMaxReconnectInterval(100 * time.Millisecond).SetOrderMatters(false))
	token := client.Connect()
	require.True(t, token.WaitTimeout(patience))
	require.NoError(t, token.Error())
	t.Cleanup(func() { client.Disconnect(0) })
	token = client.Subscribe("wisepops/contacts", 1, func(_ mqtt.Client, m mqtt.Message) {
		mu.Lock()
		defer mu.Unlock()
		messages = append(messages, m.Payload())
	})
	require.True(t, token.WaitTimeout(patience))
	require.NoError(t, token.Error())

	w := newWebsite(t, sandbox.Options{Contacts: 3000})
	w.set("MQTT_URL=tcp://" + s.address)
	g := newGate(w)
	r := w.start("tests/integration/config/leads_to_mqtt.yaml", resources("state_sqlite"),
		once, smallPages)
	// Mosquitto writes what it holds when it stops.
	w.survives(g, received, s.outage(r, syscall.SIGTERM), s.outage(r, syscall.SIGTERM))
	r.succeeds()

	all := func() arrivals {
		mu.Lock()
		defer mu.Unlock()
		arrived := arrivals{}
		for _, m := range messages {
			arrived.read(t, m)
		}
		return arrived
	}
	eventually(t, "the subscriber has everything", func() bool { return len(all()) >= w.site.Len() })
	w.requireAll(all(), 0)
}

func newMosquitto(t *testing.T) *server {
	t.Helper()
	s := newServer(t)
	me, err := user.Current()
	require.NoError(t, err)
	config := filepath.Join(s.dir, "mosquitto.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
listener %s 127.0.0.1
allow_anonymous true
user %s
persistence true
persistence_location %s/
max_queued_messages 0
`, s.port, me.Username, s.dir), 0o600))
	return s.runs("mosquitto", "-c", config)
}
