package privacy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/internal/apiconfig"
	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

var (
	zoe  = wisepops.Identity{Email: "zoe@example.com"}
	paul = wisepops.Identity{Email: "paul@example.com"}
)

// calls reports whether the person is asked for again.
func calls(t *testing.T, m *Memory, who wisepops.Identity) (called bool) {
	t.Helper()
	repeated, err := m.once(t.Context(), who, func() error {
		called = true
		return nil
	})
	require.NoError(t, err)
	require.NotEqual(t, called, repeated)
	return called
}

func TestMemoryLastsAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		require.True(t, calls(t, m, zoe))
		<-time.After(time.Hour - time.Second)
		require.True(t, calls(t, m, paul))
		require.False(t, calls(t, m, zoe))
		<-time.After(time.Second) // of the deletion, not of the repeat
		require.Len(t, m.known, 2)
		require.True(t, calls(t, m, zoe))
		require.False(t, calls(t, m, paul))
		<-time.After(time.Hour)
		require.True(t, calls(t, m, paul))
		require.Len(t, m.known, 1)
		require.Len(t, m.order, 1)
	})
}

func TestMemoryBeginsWhenTheCallEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		_, err := m.once(t.Context(), zoe, func() error {
			<-time.After(2 * time.Hour) // for the budget
			return nil
		})
		require.NoError(t, err)
		require.False(t, calls(t, m, zoe))
	})
}

func TestMemoryForgetsTheOldestFirst(t *testing.T) {
	m := NewMemory()
	number := func(i int) wisepops.Identity { return wisepops.Identity{Email: strconv.Itoa(i)} }
	for i := range rememberMost + 10 {
		calls(t, m, number(i))
	}
	require.Len(t, m.known, rememberMost)
	require.Len(t, m.order, rememberMost)
	require.False(t, calls(t, m, number(10)))
	require.False(t, calls(t, m, number(rememberMost+9)))
	require.True(t, calls(t, m, number(9)))
	require.True(t, calls(t, m, number(10)), "the oldest made room")
	require.Len(t, m.known, rememberMost)
}

func TestMemoryHoldsOnlyWhatSucceeded(t *testing.T) {
	m, broken := NewMemory(), errors.New("broken")
	for range 2 {
		repeated, err := m.once(t.Context(), zoe, func() error { return broken })
		require.ErrorIs(t, err, broken)
		require.False(t, repeated)
	}
	require.True(t, calls(t, m, zoe))
	require.Empty(t, m.underway)
}

func TestMemoryTellsPeopleApart(t *testing.T) {
	m := NewMemory()
	for _, who := range []wisepops.Identity{
		zoe, paul,
		{Email: "Zoe@example.com"},
		{Phone: "+33612345678"},
		{Email: "+33612345678"},
		{Email: zoe.Email, Phone: "+33612345678"},
		{Email: "3" + zoe.Email, Phone: "+3361234567"},
	} {
		require.True(t, calls(t, m, who), "%v", who)
	}
}

// A plain or unkeyed hash of an identity could be guessed from a dump of the process.
func TestMemoryIsKeyedByProcess(t *testing.T) {
	a, b := NewMemory(), NewMemory()
	assert.NotEqual(t, a.person(zoe), b.person(zoe))
	assert.Equal(t, a.person(zoe), a.person(zoe))
	calls(t, a, zoe)
	assert.NotContains(t, fmt.Sprintf("%+v", a), "zoe")
}

func TestConcurrentCallsForOnePersonAreOne(t *testing.T) {
	for name, result := range map[string]error{"deleted": nil, "failed": errors.New("broken")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory()
				var made, repeats atomic.Int32
				var batches sync.WaitGroup
				for range 10 {
					batches.Go(func() {
						repeated, err := m.once(t.Context(), zoe, func() error {
							made.Add(1)
							<-time.After(time.Second)
							return result
						})
						assert.Equal(t, result, err)
						if repeated {
							repeats.Add(1)
						}
					})
				}
				<-time.After(time.Millisecond)
				assert.True(t, calls(t, m, paul), "another person waits")
				batches.Wait()
				assert.EqualValues(t, 1, made.Load())
				assert.EqualValues(t, 9, repeats.Load())
				assert.Equal(t, result != nil, calls(t, m, zoe))
			})
		})
	}
}

// A batch that ends before its call does leaves the call to the other one.
func TestCancelledCallIsMadeByWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		ctx, cancel := context.WithCancel(t.Context())
		var first sync.WaitGroup
		first.Go(func() {
			_, err := m.once(ctx, zoe, func() error {
				<-ctx.Done()
				return fmt.Errorf("deleting data: %w", ctx.Err())
			})
			assert.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()

		gone, leave := context.WithCancel(t.Context())
		leave()
		_, err := m.once(gone, zoe, func() error { return nil })
		require.ErrorIs(t, err, context.Canceled, "waiting honours the context")

		var called bool
		var second sync.WaitGroup
		second.Go(func() { called = calls(t, m, zoe) })
		synctest.Wait()
		cancel()
		first.Wait()
		second.Wait()
		assert.True(t, called)
		assert.False(t, calls(t, m, zoe))
	})
}

func TestMemoryUnderLoad(t *testing.T) {
	m := NewMemory()
	var made [50]atomic.Int32
	var batches sync.WaitGroup
	for b := range 20 {
		batches.Go(func() {
			for i := range 500 {
				n := (i*7 + b) % len(made)
				email := binary.BigEndian.AppendUint16(nil, uint16(n))
				_, err := m.once(t.Context(), wisepops.Identity{Email: string(email)}, func() error {
					if made[n].Add(1) < 3 {
						return errors.New("not yet")
					}
					return nil
				})
				_ = err
			}
		})
	}
	batches.Wait()
	for n := range made {
		assert.EqualValues(t, 3, made[n].Load(), n)
	}
}

func newDeleter(t *testing.T, s *sandbox.Service, conf string) *Deleter {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	spec := service.NewConfigSpec().Field(apiconfig.KeyField()).Fields(Fields()...).Fields(apiconfig.TransportFields()...)
	parsed, err := spec.ParseYAML("api_key: demo\nmax_retries: 0\nbase_url: "+server.URL+"/api2\n"+conf, nil)
	require.NoError(t, err)
	d, err := New(parsed, service.MockResources())
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

func messages(contents ...string) (batch service.MessageBatch) {
	for _, c := range contents {
		batch = append(batch, service.NewMessage([]byte(c)))
	}
	return batch
}

func TestBatchFailsAsAWholeAndConverges(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	d, m := newDeleter(t, s, ""), NewMemory()
	batch := messages(`{"email":"a@example.com"}`, `{}`, `{"email":"b@example.com"}`, `SECRETMARKER`, `{"email":"a@example.com"}`)
	for range 3 {
		err := d.DeleteOnce(t.Context(), batch, m)
		require.ErrorContains(t, err, "names nobody")
		require.ErrorContains(t, err, "2 of 5 messages failed")
		require.NotContains(t, err.Error(), "SECRETMARKER")
		var batchErr *service.BatchError
		require.NotErrorAs(t, err, &batchErr)
		require.Equal(t, 2, s.Calls().Total, "a and b")
	}
	require.NoError(t, d.DeleteOnce(t.Context(), messages(`{"email":"b@example.com"}`), m))
	require.Equal(t, 2, s.Calls().Total)
	require.NoError(t, d.DeleteOnce(t.Context(), nil, m))

	// Of one message, its own.
	err := d.DeleteOnce(t.Context(), messages(`{}`), m)
	require.EqualError(t, err, "the message names nobody: email and phone are both empty")

	// Who keeps receipts asks each time.
	for i := range 2 {
		_, errs := d.Delete(t.Context(), messages(`{"email":"a@example.com"}`))
		require.NoError(t, errs[0])
		require.Equal(t, 3+i, s.Calls().Total)
	}
}

func TestDryRunRemembersNothing(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	m := NewMemory()
	batch := messages(`{"email":"a@example.com"}`)
	require.NoError(t, newDeleter(t, s, "dry_run: true").DeleteOnce(t.Context(), batch, m))
	require.Zero(t, s.Calls().Total)
	require.Empty(t, m.known)
	require.NoError(t, newDeleter(t, s, "").DeleteOnce(t.Context(), batch, m))
	require.Equal(t, 1, s.Calls().Total)
}

// Repeats and calls in flight hold no place that a call needs.
func TestBatchesThatNameTheSamePeopleMakeOneCallEach(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	d, m := newDeleter(t, s, "max_in_flight: 1"), NewMemory()
	var contents []string
	for i := range 20 {
		contents = append(contents, fmt.Sprintf(`{"email":"person%d@example.com"}`, i))
	}
	var batches sync.WaitGroup
	for range 8 {
		batches.Go(func() { assert.NoError(t, d.DeleteOnce(t.Context(), messages(contents...), m)) })
	}
	batches.Wait()
	require.Equal(t, 20, s.Calls().Total)
	require.NotContains(t, fmt.Sprintf("%+v", m), "person")
}
