package sandbox_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
)

func TestLateContactsTakeTheirPlaceInTime(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	s.Add(at(t, "10:00:02", "c", 1), at(t, "10:00:04", "e", 1))
	s.Add(at(t, "10:00:01", "b", 1))
	s.Add(at(t, "10:00:03", "d", 1), at(t, "10:00:00", "a", 1), at(t, "10:00:05", "f", 1))
	s.Add(at(t, "10:00:02", "c2", 1))
	s.Add()
	assert.Equal(t, mailboxes("a", "b", "c", "c2", "d", "e", "f"), emails(t, s, ""))
}

func TestAdditionsKeepTimeOrderWhateverTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type entry struct {
			second int
			email  string
		}
		start := time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC)
		s := sandbox.New(sandbox.Options{})
		var want []entry
		for batch, seconds := range rapid.SliceOf(rapid.SliceOfN(rapid.IntRange(0, 9), 0, 6)).Draw(t, "batches") {
			var add []sandbox.Contact
			for i, second := range seconds {
				e := entry{second, fmt.Sprintf("n.%d.%d@example.com", batch, i)}
				want = append(want, e)
				add = append(add, sandbox.Contact{CollectedAt: start.Add(time.Duration(second) * time.Second), Email: e.email})
			}
			s.Add(add...)
		}
		slices.SortStableFunc(want, func(a, b entry) int { return a.second - b.second })
		contacts := s.Contacts()
		require.Len(t, contacts, len(want))
		for i, c := range contacts {
			require.Equal(t, want[i].email, c.Email)
			require.Equal(t, want[i].second, c.CollectedAt.Second())
		}
	})
}

func TestAddMakesUpWhatIsNotGiven(t *testing.T) {
	now := instant(t, "11:22:33.444")
	s := sandbox.New(sandbox.Options{Clock: func() time.Time { return now }})
	s.Add(
		sandbox.Contact{},
		sandbox.Contact{WisepopID: 99, Email: "x@example.com"},
		sandbox.Contact{Raw: []byte(`{"wisepop_id":7,"fields":{"First":"Ann","Mail":"raw@example.com"}}`)},
	)
	contacts := s.Contacts()
	require.Len(t, contacts, 3)
	for _, c := range contacts {
		assert.Equal(t, now, c.CollectedAt)
	}
	assert.NotZero(t, contacts[0].WisepopID)
	assert.Contains(t, contacts[0].Email, "@")
	assert.EqualValues(t, 99, contacts[1].WisepopID)
	assert.Equal(t, "x@example.com", contacts[1].Email)
	assert.Contains(t, string(contacts[1].Raw), `"wisepop_id":99,`)
	assert.Contains(t, string(contacts[1].Raw), `"x@example.com"`)
	assert.EqualValues(t, 7, contacts[2].WisepopID)
	assert.Equal(t, "raw@example.com", contacts[2].Email)
	assert.Equal(t, `{"wisepop_id":7,"fields":{"First":"Ann","Mail":"raw@example.com"}}`, string(contacts[2].Raw))
	assert.Len(t, emails(t, s, "wisepop_id=99"), 1)
	assert.Len(t, emails(t, s, "wisepop_id=7"), 1)
}

func TestRawBytesAreServedUntouched(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	s.AddRaw(instant(t, "10:00:02"), []byte(`{"collected_at":"yesterday"}`))
	s.AddRaw(instant(t, "10:00:01"), []byte(`not JSON`))
	s.AddRaw(instant(t, "10:00:03"), nil)
	assert.Equal(t, `[not JSON,{"collected_at":"yesterday"},]`, call(s, http.MethodGet, "/contacts").Body.String())
	assert.Equal(t, `[{"collected_at":"yesterday"}]`, call(s, http.MethodGet, "/contacts?page=2&page_size=1").Body.String())

	large := make([]byte, 5<<20)
	s.AddRaw(instant(t, "10:00:04"), large)
	assert.Len(t, call(s, http.MethodGet, "/contacts?collected_after=2024-05-06T10:00:04Z").Body.Bytes(), len(large)+2)
}

func TestContactsOutOfTheOrderOfArrivalAreJoined(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	var body [4]string
	for i, clock := range []string{"10:00:00", "10:00:02", "10:00:03", "10:00:01"} {
		body[i] = `"` + strings.Repeat(string(rune('a'+i)), 8<<10-3) + `"`
		s.AddRaw(instant(t, clock), []byte(body[i]))
	}
	want := "[" + body[0] + "," + body[3] + "," + body[1] + "," + body[2] + "]"
	assert.Equal(t, want, call(s, http.MethodGet, "/contacts").Body.String())
}

func TestDeleteRemovesByEmail(t *testing.T) {
	for _, order := range []sandbox.Order{sandbox.OldestFirst, sandbox.Unsorted} {
		s := sandbox.New(sandbox.Options{Switches: sandbox.Switches{Order: order}})
		s.Add(at(t, "10:00:00", "a", 1), at(t, "10:00:01", "b", 1), at(t, "10:00:02", "a", 2))
		s.AddRaw(instant(t, "10:00:03"), []byte(`{"fields":{}}`))
		assert.Len(t, emails(t, s, ""), 4)
		assert.Equal(t, 2, s.Delete("A@Example.com"))
		assert.Equal(t, 0, s.Delete("a@example.com"))
		assert.Equal(t, 0, s.Delete(""))
		assert.Equal(t, 2, s.Len())
		assert.ElementsMatch(t, []string{"b@example.com", ""}, emails(t, s, ""))
	}
}

func TestVisitorsComeAtTheirRateAndAreDatedAtTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{Seed: 3})
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Second)
		defer cancel()
		s.Visit(ctx, 2)
		assert.Equal(t, 1000*time.Second, time.Since(begun))

		contacts := s.Contacts()
		instants := ties(contacts)
		assert.InDelta(t, 2000, len(instants), 150)
		assert.Greater(t, len(contacts), len(instants)*6/5, "several contacts a submission")
		assert.False(t, contacts[0].CollectedAt.Before(begun.Truncate(time.Millisecond)))
		assert.False(t, contacts[len(contacts)-1].CollectedAt.After(time.Now()))
	})
}

func TestVisitReturnsAtOnceWithoutARate(t *testing.T) {
	s := sandbox.New(sandbox.Options{})
	s.Visit(t.Context(), 0)
	s.Visit(t.Context(), -1)
	assert.Zero(t, s.Len())
}

func TestLateSubmissionsAreDatedBeforeTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := instant(t, "10:00:00")
		s := sandbox.New(sandbox.Options{
			Clock:    func() time.Time { return now },
			Switches: sandbox.Switches{Late: time.Hour},
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		s.Visit(ctx, 1)
		contacts := s.Contacts()
		assert.True(t, contacts[0].CollectedAt.Before(now.Add(-30*time.Minute)))
		assert.False(t, contacts[0].CollectedAt.Before(now.Add(-time.Hour)))
		assert.False(t, contacts[len(contacts)-1].CollectedAt.After(now))
	})
}

func TestPagingWhileContactsAppearLosesNothingThatWasThere(t *testing.T) {
	for _, order := range []sandbox.Order{sandbox.OldestFirst, sandbox.NewestFirst, sandbox.Unsorted} {
		t.Run(order.String(), func(t *testing.T) {
			s := sandbox.New(sandbox.Options{Contacts: 2000, Switches: sandbox.Switches{Order: order, Anonymous: -1}})
			past := s.Contacts()
			ctx, cancel := context.WithCancel(t.Context())
			var others sync.WaitGroup
			others.Go(func() { s.Visit(ctx, 2000) })
			others.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					s.Add(sandbox.Contact{CollectedAt: past[i%2000].CollectedAt.Add(time.Hour)})
					s.Delete("nobody@example.com")
					s.Calls()
				}
			})

			seen := map[string]bool{}
			for page := 1; page <= 40; page++ {
				for _, email := range emails(t, s, fmt.Sprintf("page_size=1000&page=%d", page)) {
					seen[email] = true
				}
			}
			cancel()
			others.Wait()
			for page := 1; ; page++ {
				part := emails(t, s, fmt.Sprintf("page_size=1000&page=%d", page))
				if len(part) == 0 {
					break
				}
				for _, email := range part {
					seen[email] = true
				}
			}
			for _, c := range past {
				require.True(t, seen[c.Email], c.Email)
			}
			assert.Len(t, seen, s.Len())
		})
	}
}
