package webhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wisepops-connect/wisepops-connect/internal/state"
	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

const target = "https://leads.example.com/wisepops"

func TestPlanHooks(t *testing.T) {
	wanted := wantedHooks(target, []string{"email", "phone"}, nil)
	email, phone := wanted[0], wanted[1]
	with := func(h wisepops.Hook, id int64) wisepops.Hook { h.ID = id; return h }
	foreign := []wisepops.Hook{
		{ID: 1, Event: "email", TargetURL: target},
		{ID: 2, Event: "phone", TargetURL: target + "/email"},
		{ID: 3, Event: "email", TargetURL: target + "/email", WisepopID: 7},
		{ID: 4, Event: "email", TargetURL: "https://example.com/"},
	}
	for _, test := range []struct {
		name  string
		there []wisepops.Hook
		want  hookPlan
	}{
		{"none", nil, hookPlan{create: wanted}},
		{"foreign ones", foreign, hookPlan{create: wanted}},
		{"one", []wisepops.Hook{with(phone, 9)}, hookPlan{present: 1, create: []wisepops.Hook{email}}},
		{"all", []wisepops.Hook{with(phone, 9), with(email, 8)}, hookPlan{present: 2}},
		{"twins", []wisepops.Hook{with(phone, 9), with(email, 8), with(phone, 5), with(phone, 6)}, hookPlan{present: 2, remove: []int64{6, 9}}},
		{"other spelling", []wisepops.Hook{{ID: 9, Event: "phone", TargetURL: "HTTPS://Leads.Example.com:443/wisepops/phone"}, with(email, 8)}, hookPlan{present: 2}},
		{"one listed twice", []wisepops.Hook{with(phone, 9), with(email, 8), with(phone, 9)}, hookPlan{present: 2}},
	} {
		assert.Equal(t, test.want, planHooks(test.there, wanted), test.name)
	}
	require.Len(t, wantedHooks(target, []string{"email", "phone"}, []int64{7, 8}), 4)
}

// transport carries calls to a sandbox without a network.
type transport struct{ service http.Handler }

func (tr transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	tr.service.ServeHTTP(w, r)
	return w.Result(), nil
}

func newTestRegistrar(t *testing.T, s *sandbox.Service, mgr *service.Resources) *registrar {
	t.Helper()
	client, err := wisepops.New(wisepops.Options{APIKey: "demo", Transport: transport{s}, MaxRetries: 3})
	require.NoError(t, err)
	r := &registrar{
		client:   client,
		wanted:   wantedHooks(target, wisepops.Events(), nil),
		interval: 24 * time.Hour,
		log:      mgr.Logger(),
		hooks:    mgr.Metrics().NewGauge("wisepops_hooks_registered"),
	}
	if mgr.HasCache("state") {
		r.memory = state.NewSlot(mgr, "state", "hooks")
	}
	return r
}

// runFor runs a registrar for a while.
func runFor(t *testing.T, r *registrar, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	r.run(ctx)
}

func requireHooksOnce(t *testing.T, s *sandbox.Service) {
	t.Helper()
	var events []string
	for _, h := range s.Hooks() {
		assert.Equal(t, target+"/"+h.Event, h.TargetURL)
		events = append(events, h.Event)
	}
	require.ElementsMatch(t, wisepops.Events(), events)
}

func TestHooksAreRegisteredOnceOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{})
		for range 10 {
			runFor(t, newTestRegistrar(t, s, service.MockResources()), time.Minute)
		}
		requireHooksOnce(t, s)
		// The first look lists, creates three, and lists again.
		require.Equal(t, 5+9, s.Calls().Total)
	})
}

func TestRestartsCostNoCallsWhereTheLastLookIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{})
		mgr := service.MockResources(service.MockResourcesOptAddCache("state"))
		for range 100 {
			runFor(t, newTestRegistrar(t, s, mgr), time.Minute)
		}
		require.Equal(t, 5, s.Calls().Total)
		runFor(t, newTestRegistrar(t, s, mgr), 24*time.Hour)
		require.Equal(t, 6, s.Calls().Total)
	})
}

func TestReplicasStartedTogetherAgree(t *testing.T) {
	for seed := range 20 {
		synctest.Test(t, func(t *testing.T) {
			s := sandbox.New(sandbox.Options{})
			// Each call takes another while, so that the replicas interleave.
			var mu sync.Mutex
			n := seed
			s.Control(func(*http.Request) *sandbox.Fault {
				mu.Lock()
				defer mu.Unlock()
				n = (n*1103515245 + 12345) & 0x7fffffff
				return &sandbox.Fault{Delay: time.Duration(n%50) * time.Millisecond}
			})
			var replicas sync.WaitGroup
			for range 3 {
				r := newTestRegistrar(t, s, service.MockResources())
				replicas.Go(func() { runFor(t, r, time.Minute) })
			}
			replicas.Wait()
			requireHooksOnce(t, s)
		})
	}
}

func TestHookThatWasCreatedThoughTheAnswerFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{})
		s.Control(func(r *http.Request) *sandbox.Fault {
			if r.Method == http.MethodPost {
				return &sandbox.Fault{Effective: true, Status: 500}
			}
			return nil
		})
		runFor(t, newTestRegistrar(t, s, service.MockResources()), time.Hour)
		requireHooksOnce(t, s)
	})
}

func TestDeletedHookIsFoundAgainAndForeignOnesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{})
		foreign := s.AddHook(sandbox.Hook{Event: "email", TargetURL: "https://example.com/"})
		other := s.AddHook(sandbox.Hook{Event: "email", TargetURL: target + "/email", WisepopID: 5})
		r := newTestRegistrar(t, s, service.MockResources())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.run(ctx) })
		synctest.Wait()
		require.Len(t, s.Hooks(), 5)
		for _, h := range s.Hooks() {
			if h.ID != foreign && h.ID != other {
				s.RemoveHook(h.ID)
			}
		}
		<-time.After(24*time.Hour + time.Second)
		synctest.Wait()
		require.Len(t, s.Hooks(), 5)
		require.NoError(t, r.unregister(ctx))
		require.Len(t, s.Hooks(), 2)
		cancel()
		running.Wait()
	})
}

func TestDayOfFailuresCostsFewCalls(t *testing.T) {
	for name, fault := range map[string]func(*http.Request) *sandbox.Fault{
		"refused key":   func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Status: 401} },
		"server error":  func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Status: 500} },
		"other page":    func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Body: []byte("<html>")} },
		"not a list":    func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Body: []byte("null")} },
		"never created": func(r *http.Request) *sandbox.Fault { return when(r.Method == "POST", &sandbox.Fault{Status: 500}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sandbox.New(sandbox.Options{})
				s.Control(fault)
				runFor(t, newTestRegistrar(t, s, service.MockResources()), 24*time.Hour)
				require.Less(t, s.Calls().Total, 100)
				require.Greater(t, s.Calls().Total, 10)
			})
		})
	}
}

func when(cond bool, f *sandbox.Fault) *sandbox.Fault {
	if cond {
		return f
	}
	return nil
}

// A process that is killed in the middle of its first look, again and again.
func TestCrashLoopCostsFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{})
		s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Hang: true} })
		mgr := service.MockResources(service.MockResourcesOptAddCache("state"))
		for range 24 * 60 * 6 { // before a call has timed out
			runFor(t, newTestRegistrar(t, s, mgr), 10*time.Second)
		}
		require.Less(t, s.Calls().Total, 100)
	})
}

func TestRetryAfterIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{})
		s.Control(func(*http.Request) *sandbox.Fault { return &sandbox.Fault{Status: 429, RetryAfter: "7200"} })
		r := newTestRegistrar(t, s, service.MockResources())
		r.client = r.client.WithMaxRetries(0)
		runFor(t, r, 7100*time.Second)
		require.Equal(t, 1, s.Calls().Total)
	})
}

func TestRegistrationWaitsForItsCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{})
		r := newTestRegistrar(t, s, service.MockResources())
		r.memory = state.NewSlot(service.MockResources(), "nowhere", "hooks") // every access fails
		runFor(t, r, time.Hour)
		require.Zero(t, s.Calls().Total)
	})
}

// An API that lists new hooks late must not be flooded with twins.
func TestHookThatIsNotListedIsNotCreatedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{})
		s.Control(func(r *http.Request) *sandbox.Fault {
			return when(r.Method == http.MethodGet, &sandbox.Fault{Body: []byte("[]")})
		})
		r := newTestRegistrar(t, s, service.MockResources())
		runFor(t, r, 23*time.Hour)
		requireHooksOnce(t, s)
		require.Equal(t, 5, s.Calls().Total)
	})
}
