package integration_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kafka is a broker with topics of three partitions, which can be out of reach or
// refuse records.
type kafka struct {
	*kfake.Cluster
	t       *testing.T
	address string
	client  *kgo.Client

	refusals atomic.Int64 // of connections and of records
	refuse   atomic.Pointer[kerr.Error]
	chance   atomic.Pointer[func() bool] // of a record to be refused

	mu   sync.Mutex
	away bool
	open []net.Conn
}

func newKafka(t *testing.T, topics ...string) *kafka {
	t.Helper()
	k := &kafka{t: t}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topics...), kfake.GroupMinSessionTimeout(100*time.Millisecond),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			l, err := (&net.ListenConfig{}).Listen(context.Background(), network, address)
			return &brokerListener{l, k}, err
		}))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	k.Cluster, k.address = cluster, cluster.ListenAddrs()[0]
	cluster.ControlKey(int16(kmsg.Produce), k.produced)
	k.client, err = kgo.NewClient(kgo.SeedBrokers(k.address))
	require.NoError(t, err)
	t.Cleanup(k.client.Close)
	return k
}

type brokerListener struct {
	net.Listener
	k *kafka
}

func (l *brokerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || l.k.accepts(conn) {
			return conn, err
		}
		_ = conn.Close()
	}
}

func (k *kafka) accepts(conn net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		k.refusals.Add(1)
		return false
	}
	k.open = append(k.open, conn)
	return true
}

// unreachable breaks all connections, with requests and answers on them, and lets
// none in.
func (k *kafka) unreachable() outage {
	reach := func(away bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.away = away
		for _, conn := range k.open {
			_ = conn.Close()
		}
		k.open = nil
	}
	return k.outage(func() { reach(true) }, func() { reach(false) })
}

// refusing answers records with an error.
func (k *kafka) refusing(err *kerr.Error) outage {
	return k.outage(func() { k.refuse.Store(err) }, func() { k.refuse.Store(nil) })
}

// flaky refuses records where chance has it; nil ends it.
func (k *kafka) flaky(chance func() bool) {
	if chance == nil {
		k.chance.Store(nil)
		return
	}
	k.chance.Store(&chance)
}

func (k *kafka) outage(begin, end func()) outage {
	before := int64(0)
	return outage{
		begin: func() {
			before = k.refusals.Load()
			begin()
		},
		noticed: func() bool { return k.refusals.Load() > before+1 },
		end:     end,
	}
}

func (k *kafka) produced(kreq kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
	k.KeepControl()
	refuse := k.refuse.Load()
	if chance := k.chance.Load(); chance != nil && (*chance)() {
		refuse = kerr.MessageTooLarge // one that clients do not retry
	}
	if refuse == nil {
		return nil, nil, false
	}
	k.refusals.Add(1)
	req := kreq.(*kmsg.ProduceRequest)
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range req.Topics {
		answer := kmsg.NewProduceResponseTopic()
		answer.Topic, answer.TopicID = topic.Topic, topic.TopicID
		for _, partition := range topic.Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode = partition.Partition, refuse.Code
			answer.Partitions = append(answer.Partitions, p)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp, nil, true
}

func (k *kafka) produce(topic string, messages ...string) {
	k.t.Helper()
	for _, message := range messages {
		record := &kgo.Record{Topic: topic, Value: []byte(message)}
		require.NoError(k.t, k.client.ProduceSync(k.t.Context(), record).FirstErr())
	}
}

// count is how many records a topic has.
func (k *kafka) count(topic string) (n int) {
	for _, p := range k.PartitionInfos(topic) {
		n += int(p.HighWatermark)
	}
	return n
}

// committed is how many records of all its topics a group is done with.
func (k *kafka) committed(group string) (n int) {
	k.t.Helper()
	offsets, err := kadm.NewClient(k.client).FetchOffsets(k.t.Context(), group)
	require.NoError(k.t, err)
	offsets.Each(func(o kadm.OffsetResponse) { n += int(max(o.At, 0)) })
	return n
}

func (k *kafka) records(topic string) (records []*kgo.Record) {
	k.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.address), kgo.ConsumeTopics(topic))
	require.NoError(k.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	for want := k.count(topic); len(records) < want; {
		fetches := client.PollFetches(ctx)
		require.NoError(k.t, fetches.Err())
		records = append(records, fetches.Records()...)
	}
	return records
}

func header(record *kgo.Record, key string) string {
	for _, h := range record.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
