package processor

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// counters keeps the counts of a pipeline by name and labels, as in "name value".
type counters struct {
	mu     sync.Mutex
	counts map[string]int64
}

type countersSeries struct {
	all  *counters
	name string
}

func (c *counters) NewCounterCtor(name string, labels ...string) service.MetricsExporterCounterCtor {
	return func(values ...string) service.MetricsExporterCounter {
		series := []string{name}
		for i, label := range labels {
			if label != "label" && label != "path" { // of the component, which Benthos adds
				series = append(series, values[i])
			}
		}
		return countersSeries{c, strings.Join(series, " ")}
	}
}

func (*counters) NewTimerCtor(string, ...string) service.MetricsExporterTimerCtor {
	return func(...string) service.MetricsExporterTimer { return countersSeries{} }
}

func (*counters) NewGaugeCtor(string, ...string) service.MetricsExporterGaugeCtor {
	return func(...string) service.MetricsExporterGauge { return countersSeries{} }
}

func (*counters) Close(context.Context) error { return nil }

func (s countersSeries) Incr(count int64) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.all.counts[s.name] += count
}

func (countersSeries) Timing(int64) {}
func (countersSeries) Set(int64)    {}

// countsOf runs a batch through a processor and returns what its pipeline counted.
func countsOf(t *testing.T, processor string, messages ...string) map[string]int64 {
	t.Helper()
	all := &counters{counts: map[string]int64{}}
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterMetricsExporter("counters", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return all, nil }))
	builder := env.NewStreamBuilder()
	require.NoError(t, builder.SetLoggerYAML(`level: none`))
	require.NoError(t, builder.SetMetricsYAML(`counters: {}`))
	send, err := builder.AddBatchProducerFunc()
	require.NoError(t, err)
	require.NoError(t, builder.AddProcessorYAML(processor))
	require.NoError(t, builder.AddBatchConsumerFunc(func(context.Context, service.MessageBatch) error { return nil }))
	stream, err := builder.Build()
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- stream.Run(ctx) }()
	var batch service.MessageBatch
	for _, m := range messages {
		batch = append(batch, service.NewMessage([]byte(m)))
	}
	require.NoError(t, send(ctx, batch))
	require.NoError(t, stream.Stop(ctx))
	require.NoError(t, <-ended)
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.counts
}
