package input

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func numbered(items []int) service.MessageBatch {
	batch := make(service.MessageBatch, len(items))
	for i, n := range items {
		batch[i] = service.NewMessage([]byte(strconv.Itoa(n)))
	}
	return batch
}

// An output that comes back bit by bit writes some messages of each attempt. Each
// message is written once, in the end, and only then the batch is settled.
func TestEachMessageIsReplayedUntilItIsWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newQueue[replay]()
		items := rapid.SliceOfNDistinct(rapid.IntRange(0, 99), 1, 12, rapid.ID[int]).Draw(rt, "items")
		settled := 0
		written := map[string]int{}
		batch, ack := replayed(r, items, numbered, func(context.Context) { settled++ })
		for settled == 0 {
			var failed *service.BatchError
			whole := rapid.IntRange(0, 9).Draw(rt, "whole") == 0
			for i, m := range batch {
				if whole || rapid.Bool().Draw(rt, "refused") {
					if failed == nil {
						failed = service.NewBatchError(batch, errors.New("refused"))
					}
					if !whole {
						failed = failed.Failed(i, errors.New("not now"))
					}
					continue
				}
				text, err := m.AsBytes()
				require.NoError(rt, err)
				written[string(text)]++
			}
			var err error
			if failed != nil {
				err = failed
			}
			require.NoError(rt, ack(t.Context(), err))
			require.NoError(rt, ack(t.Context(), nil), "a second acknowledgement changes nothing")
			if err == nil {
				continue
			}
			require.Zero(rt, settled)
			<-r.ready
			batch, ack = r.take()()
		}
		require.Equal(rt, 1, settled)
		require.Len(rt, written, len(items))
		for text, n := range written {
			require.Equal(rt, 1, n, text)
		}
	})
}

func TestReplaysWaitLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newQueue[replay]()
		_, ack := replayed(r, []int{1}, numbered, func(context.Context) {})
		var waits []time.Duration
		for range 14 {
			begun := time.Now()
			require.NoError(t, ack(t.Context(), errors.New("refused")))
			<-r.ready
			waits = append(waits, time.Since(begun))
			_, ack = r.take()()
		}
		require.Equal(t, []time.Duration{0, time.Millisecond, 2 * time.Millisecond}, waits[:3])
		require.Equal(t, time.Second, waits[13])
	})
}

func TestReplaysAreTakenInTheirOrder(t *testing.T) {
	r := newQueue[replay]()
	require.Nil(t, r.take())
	for _, n := range []int{1, 2, 3} {
		_, ack := replayed(r, []int{n}, numbered, func(context.Context) {})
		require.NoError(t, ack(t.Context(), errors.New("refused")))
	}
	for _, want := range []string{"1", "2", "3"} {
		<-r.ready
		batch, _ := r.take()()
		text, err := batch[0].AsBytes()
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
	require.Nil(t, r.take())
}
