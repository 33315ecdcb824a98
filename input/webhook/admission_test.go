package webhook

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReceiverAnswers has the pipeline acknowledge, refuse, dawdle, forget and stop
// reading, and holds each answer against what the pipeline saw.
func TestReceiverAnswers(t *testing.T) {
	const (
		places     = 8
		clients    = 24
		deliveries = 300
	)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rec := newReceiver(&config{maxInFlight: places, ackTimeout: 5 * time.Millisecond}, service.MockResources())

	var (
		mu      sync.Mutex
		emitted = map[string]int{}
		acked   = map[string]bool{} // what became of it, where anything did
	)
	settle := func(d *delivery, id string, err error) {
		mu.Lock()
		acked[id] = err == nil
		mu.Unlock()
		assert.NoError(t, d.ack(t.Context(), err))
	}
	var pipeline, senders sync.WaitGroup
	ended, end := context.WithCancel(t.Context())
	pipeline.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 0))
		for ended.Err() == nil {
			ctx, cancel := context.WithTimeout(ended, time.Duration(rng.IntN(20))*time.Millisecond)
			for {
				d, err := rec.next(ctx)
				if err != nil {
					assert.ErrorIs(t, err, ctx.Err())
					break
				}
				content, err := d.messages[0].AsBytes()
				assert.NoError(t, err)
				id := string(content)
				mu.Lock()
				emitted[id]++
				mu.Unlock()
				switch dice := rng.IntN(10); {
				case dice < 5:
					settle(d, id, nil)
				case dice < 7:
					settle(d, id, errors.New("refused"))
				case dice < 9:
					wait := time.Duration(rng.IntN(8)) * time.Millisecond
					pipeline.Go(func() {
						<-time.After(wait)
						settle(d, id, nil)
					})
				}
			}
			cancel()
		}
	})
	statuses := make([]map[string]int, clients)
	for client := range clients {
		statuses[client] = map[string]int{}
		senders.Go(func() {
			for n := range deliveries {
				id := fmt.Sprintf("%d/%d", client, n)
				statuses[client][id] = rec.deliver(newDelivery(service.MessageBatch{service.NewMessage([]byte(id))}))
				rec.mu.Lock()
				assert.LessOrEqual(t, len(rec.inFlight), places)
				assert.LessOrEqual(t, len(rec.waiting.items), len(rec.inFlight))
				rec.mu.Unlock()
			}
		})
	}
	senders.Wait()
	end()
	pipeline.Wait()

	seen := map[int]int{}
	for _, answers := range statuses {
		for id, status := range answers {
			seen[status]++
			require.LessOrEqual(t, emitted[id], 1, id)
			success, settled := acked[id]
			switch status {
			case http.StatusOK:
				assert.True(t, success, id)
			case http.StatusServiceUnavailable:
				assert.Equal(t, settled, emitted[id] == 1, "%s was emitted, refused, and not by the pipeline", id)
				assert.False(t, success, id)
			default:
				assert.Equal(t, http.StatusGatewayTimeout, status, id)
			}
		}
	}
	for _, status := range []int{http.StatusOK, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
		assert.NotZero(t, seen[status], strconv.Itoa(status))
	}
	assert.Empty(t, rec.inFlight)
	assert.Empty(t, rec.waiting.items)
}

func TestReceiverCloseAnswersWhatIsReadAndWhatIsNot(t *testing.T) {
	rec := newReceiver(&config{maxInFlight: 2, ackTimeout: time.Minute}, service.MockResources())
	answers := make(chan int)
	send := func() {
		answers <- rec.deliver(newDelivery(service.MessageBatch{service.NewMessage(nil)}))
	}
	go send()
	read, err := rec.next(t.Context())
	require.NoError(t, err)
	go send()
	require.Eventually(t, func() bool {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		return len(rec.waiting.items) == 1
	}, 10*time.Second, time.Millisecond)

	rec.close()
	assert.Equal(t, http.StatusServiceUnavailable, <-answers)
	assert.Equal(t, http.StatusServiceUnavailable, <-answers)
	require.NoError(t, read.ack(t.Context(), nil), "an acknowledgement that is late is of no effect")
	_, err = rec.next(t.Context())
	assert.ErrorIs(t, err, service.ErrEndOfInput)
	assert.Equal(t, http.StatusServiceUnavailable, rec.deliver(newDelivery(nil)))
}

func TestReceiverDoesNotEmitWhatItRefused(t *testing.T) {
	rec := newReceiver(&config{maxInFlight: 2, ackTimeout: time.Minute}, service.MockResources())
	d := newDelivery(service.MessageBatch{service.NewMessage(nil)})
	require.True(t, rec.admit(d))

	ended, end := context.WithCancel(t.Context())
	end()
	_, err := rec.next(ended)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, http.StatusServiceUnavailable, <-d.status)

	again, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = rec.next(again)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestReceiverWithOnePlaceIsNotCrowdedByAFew(t *testing.T) {
	rec := newReceiver(&config{maxInFlight: 1, ackTimeout: time.Minute}, service.MockResources())
	for n := range openAtLeast {
		entered, crowded := rec.enter()
		require.True(t, entered)
		require.False(t, crowded, n)
	}
	_, crowded := rec.enter()
	assert.True(t, crowded)
}
