package sandbox

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultAPIKey is the key that a [Service] demands where none is given.
	DefaultAPIKey = "demo"

	// DefaultSpacing is the mean distance between two past submissions. Where
	// there are so many that they would span more than a year, they are closer.
	DefaultSpacing = 2 * time.Minute

	longestPast  = 365 * 24 * time.Hour
	budgetWindow = 30 * 24 * time.Hour
)

// DefaultStart is when the past contacts begin.
var DefaultStart = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)

// Options configure a [Service]. The zero value is a website without contacts.
type Options struct {
	// APIKey is demanded of every request: its one Authorization header must be
	// exactly `WISEPOPS-API key="KEY"`. Empty means [DefaultAPIKey].
	APIKey string

	// Seed determines the past contacts, byte for byte, and what live visitors
	// type.
	Seed uint64

	// Contacts is how many past contacts there are at the start. The first is
	// collected at Start.
	Contacts int

	// Start is when the past contacts begin. Zero means [DefaultStart].
	Start time.Time

	// Spacing is the mean distance between two past submissions, each of one to
	// three contacts. Distances are drawn from half to one and a half of it.
	// Zero means [DefaultSpacing]; the least is a millisecond.
	Spacing time.Duration

	// Burst puts this many past contacts into one and the same millisecond:
	// once, in the middle (the contact at index (Contacts-Burst)/2 is its
	// first), or every BurstEvery-th submission. Outside of bursts only contacts
	// of one submission share a millisecond; a Burst of 1 gives every past
	// contact its own.
	Burst int

	// BurstEvery repeats the Burst: with 1, all past contacts come in ties of
	// Burst.
	BurstEvery int

	// Budget is how many calls are answered within BudgetWindow, which rolls;
	// further ones are answered with 429, and are not charged. Zero means no limit.
	Budget int

	// BudgetWindow is the time that Budget is for. Zero means 30 days.
	BudgetWindow time.Duration

	// Clock is the server's time: of the Date header, of live contacts and of the
	// Budget, whose time the switches of clocks leave alone. It is called concurrently.
	// Nil means [time.Now].
	Clock func() time.Time

	Switches
}

// Switches choose among the answers to what the documentation of the API leaves
// open. The zero value is what its examples suggest.
type Switches struct {
	// Strict refuses what the documentation does not name, so that a client's mistakes
	// show: unknown parameters, a slash behind a path, a collected_after that is no
	// instant in UTC, a wisepop_id in quotes. By default they are taken, since clients
	// that work with Wisepops send them.
	Strict bool

	// ExclusiveBound leaves out the contacts of the very instant that
	// collected_after names. By default they are served.
	ExclusiveBound bool

	// SecondBound cuts collected_after to whole seconds before comparing.
	SecondBound bool

	// SecondBoundUp rounds collected_after up to whole seconds before comparing.
	SecondBoundUp bool

	// BoundIgnored serves all contacts, whatever collected_after says.
	BoundIgnored bool

	// BoundOffset shifts collected_after before comparing, as a server does that takes
	// it for its local time: -2h serves two hours more than was asked for.
	BoundOffset time.Duration

	// SecondTimes keeps and serves collected_at with second precision.
	SecondTimes bool

	// Order is the order in which contacts are served.
	Order Order

	// PageIgnored answers the first page, whatever page is asked for.
	PageIgnored bool

	// PastEnd is what is answered for a page past the last one.
	PastEnd PastEnd

	// BlankEvery leaves one of so many places of a page empty, as an API does that
	// filters records once it has cut the page: pages are shorter than asked for although
	// there are more. It takes effect from 2 on.
	BlankEvery int

	// FilterAfterPaging looks for the wisepop_id on a page that was cut from the contacts
	// of all pop-ups.
	FilterAfterPaging bool

	// DeletePerPage deletes so many of the contacts that a full page served, once it is
	// served: those of later pages move up.
	DeletePerPage int

	// InsertPerPage has so many visitors submit a pop-up once a full page is served.
	InsertPerPage int

	// PageCap silently cuts a larger page_size to this. Pages then begin at
	// multiples of PageCap, so that reading page by page loses nothing. Zero
	// means no cap.
	PageCap int

	// PageCapSkips has pages begin at multiples of the page_size asked for
	// although PageCap cut them: what lies between is on no page.
	PageCapSkips bool

	// RetryAfter is the form of the Retry-After where the Budget is spent.
	RetryAfter RetryAfter

	// SilentBudget leaves the Retry-After out where the Budget is spent.
	SilentBudget bool

	// FailedCallsFree charges only calls answered with 2xx, see [Calls.Charged].
	FailedCallsFree bool

	// PlainFields leaves only strings in the fields of generated contacts: no
	// null, number, boolean or nested value.
	PlainFields bool

	// Anonymous is how many of a hundred submissions are answers to a survey that asks for
	// neither an email nor a phone. Zero means [DefaultAnonymous]; less means none.
	Anonymous int

	// NullCountries serves some of the country codes that are not known as null. By default
	// all of them are left out: clients are known that refuse null.
	NullCountries bool

	// RefuseTwinHooks answers 409 where a hook is created that is there already. By
	// default a second one is created.
	RefuseTwinHooks bool

	// RespellDeliveries sends deliveries whose bytes differ from what GET /contacts
	// serves for the same contact: order of keys, white space, escapes, +00:00.
	RespellDeliveries bool

	// Late dates live submissions up to this long before the clock: contacts
	// that appear late. See [Service.Visit]. Past contacts have arrived up to as late,
	// which [ByArrival] shows.
	Late time.Duration

	// ClockOffset is how far the server's clock is ahead. See [Service.SetClockOffset].
	ClockOffset time.Duration

	// ClockJump is by how much the clock jumps, forward or back, ClockJumpAfter the
	// start.
	ClockJump      time.Duration
	ClockJumpAfter time.Duration

	// DateOffset is how far the Date header is ahead of the server's clock.
	DateOffset time.Duration
}

// Service is the stand-in of one website's API. It is safe for concurrent use,
// and owns no goroutine.
type Service struct {
	opts   Options
	header string
	routes map[string]endpoint
	calls  ledger
	clock  clock

	control atomic.Pointer[func(*http.Request) *Fault]
	hangMu  sync.Mutex
	hang    chan struct{} // closed and replaced by Release

	courier courier

	mu       sync.RWMutex // guards what follows
	store    store
	gen      generator
	hooks    []Hook
	lastHook int64

	campaigns []Campaign // nil: those of the shop

	suppressedEmails map[string]bool // in lower case
	suppressedPhones map[uint64]bool
}

// endpoint holds what answers a path, by method.
type endpoint map[string]func(*Service, *http.Request) answer

// answer is a response before faults are applied. The bytes are not modified
// once they stand here.
type answer struct {
	status      int
	contentType string
	body        [][]byte
	header      http.Header // further ones
}

// New returns a service with its past contacts in place. A million take a
// second or two, and about as much memory as their JSON.
func New(opts Options) *Service {
	if opts.APIKey == "" {
		opts.APIKey = DefaultAPIKey
	}
	if opts.Start.IsZero() {
		opts.Start = DefaultStart
	}
	if opts.Spacing == 0 {
		opts.Spacing = DefaultSpacing
		if opts.Contacts > 0 {
			opts.Spacing = min(opts.Spacing, longestPast/time.Duration(opts.Contacts))
		}
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Anonymous == 0 {
		opts.Anonymous = DefaultAnonymous
	}
	s := &Service{
		opts:   opts,
		header: `WISEPOPS-API key="` + opts.APIKey + `"`,
		routes: map[string]endpoint{
			"/contacts":     {http.MethodGet: (*Service).getContacts},
			"/wisepops":     {http.MethodGet: (*Service).getWisepops},
			"/data-privacy": {http.MethodDelete: (*Service).deleteData},
			"/hooks": {
				http.MethodGet:    (*Service).getHooks,
				http.MethodPost:   (*Service).postHook,
				http.MethodDelete: (*Service).deleteHook,
			},
		},
		hang:  make(chan struct{}),
		store: store{seed: opts.Seed},
		gen:   newGenerator(opts),
	}
	s.calls.failedFree = opts.FailedCallsFree
	s.calls.budget, s.calls.window = opts.Budget, cmp.Or(opts.BudgetWindow, budgetWindow)
	s.clock.start(&s.opts)
	s.gen.past(opts, &s.store)
	s.store.arrived(opts.Late)
	s.store.count(s.store.rows)
	return s
}

// endpointPath is the path of an endpoint below /api2; empty where there can be none.
func (s *Service) endpointPath(path string) string {
	path, ok := strings.CutPrefix(path, "/api2")
	if !ok {
		return ""
	}
	if !s.opts.Strict {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

// ServeHTTP answers one call, under /api2.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Before anybody can know of the request and call Release.
	released := s.released()

	path := s.endpointPath(r.URL.Path)
	name := "other"
	if _, known := s.routes[path]; known {
		name = r.Method + " " + path
	}
	s.calls.arrived(name)

	if wait, spent := s.calls.spent(s.opts.Clock()); spent {
		a := refusal(http.StatusTooManyRequests, "the calls of this website are used up")
		if !s.opts.SilentBudget {
			a.header = http.Header{"Retry-After": {s.opts.RetryAfter.header(wait, s.date())}}
		}
		s.write(w, a, nil)
		return
	}

	fault := s.faultOf(r)
	if fault != nil {
		if !fault.wait(r, released) {
			s.calls.answered(0)
			return
		}
		if fault.Effective {
			s.answer(r, path)
		}
		if fault.DropConnection {
			s.calls.answered(0)
			panic(http.ErrAbortHandler)
		}
	}
	a := fault.apply(func() answer { return s.answer(r, path) })
	s.write(w, a, fault)
}

func (s *Service) answer(r *http.Request, path string) answer {
	if keys := r.Header.Values("Authorization"); len(keys) != 1 || keys[0] != s.header {
		return refusal(http.StatusUnauthorized, "the API key is missing or wrong")
	}
	methods, ok := s.routes[path]
	if !ok {
		return refusal(http.StatusNotFound, "there is no such endpoint")
	}
	handle, ok := methods[r.Method]
	if !ok {
		a := refusal(http.StatusMethodNotAllowed, "the endpoint does not know this method")
		a.header = http.Header{"Allow": nil}
		for method := range methods {
			a.header.Add("Allow", method)
		}
		return a
	}
	return handle(s, r)
}

func (s *Service) write(w http.ResponseWriter, a answer, fault *Fault) {
	length := 0
	for _, piece := range a.body {
		length += len(piece)
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Length", strconv.Itoa(length))
	h.Set("Date", s.date().UTC().Format(http.TimeFormat))
	maps.Copy(h, a.header)
	s.calls.answered(a.status)
	if s.opts.FailedCallsFree && (a.status < 200 || a.status > 299) && a.status != http.StatusTooManyRequests {
		s.calls.refund()
	}
	w.WriteHeader(a.status)

	left := length
	if fault != nil && fault.CutBody {
		// The server closes a connection on which less was sent than declared.
		left = length / 2
	}
	for _, piece := range a.body {
		piece = piece[:min(len(piece), left)]
		left -= len(piece)
		if _, err := w.Write(piece); err != nil {
			return // the client has gone
		}
	}
}

// refusal is an answer with an error in JSON.
func refusal(status int, message string) answer {
	body, _ := json.Marshal(map[string]string{"error": message})
	return answer{status: status, contentType: "application/json", body: [][]byte{body}}
}
