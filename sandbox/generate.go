package sandbox

import (
	"math/rand/v2"
	"slices"
	"time"
)

// generator makes up submissions. Its state is one stream of random numbers, so
// that what it makes follows from the seed and from what it was asked before.
type generator struct {
	rng     *rand.Rand
	plain   bool // only strings in fields
	unnamed int  // how many of a hundred submissions are anonymous answers
	nulls   bool // some country codes are null
	seconds bool // no milliseconds in collected_at
	serial  int  // of the next contact, in its email address
	buf     []byte
	dialled uint64 // digits of the last phone that was made up, in E.164
}

// visitor is what the contacts of one submission share.
type visitor struct {
	country   *country
	popup     *popup
	blocks    int
	mailbox   string
	ascii     bool   // non-ASCII characters are escaped
	session   string // "" where the contacts have none
	ip        string
	hasCode   bool // whether country_code is there
	nullCode  bool
	zone      *time.Location
	firstName string
	lastName  string
}

const hexDigits = "0123456789abcdef"

// reachable lists, for each pop-up, the countries that its visitors come from.
var reachable = func() [][]*country {
	lists := make([][]*country, len(popups))
	for i, p := range popups {
		for j := range countries {
			if len(p.countries) == 0 || slices.Contains(p.countries, countries[j].code) {
				lists[i] = append(lists[i], &countries[j])
			}
		}
	}
	return lists
}()

func newGenerator(opts Options) generator {
	return generator{
		rng:     rand.New(rand.NewPCG(opts.Seed, 0x77697365706f7073)),
		plain:   opts.PlainFields,
		unnamed: opts.Anonymous,
		nulls:   opts.NullCountries,
		seconds: opts.SecondTimes,
	}
}

// past fills the store with the contacts that exist at the start.
func (g *generator) past(opts Options, st *store) {
	total := max(opts.Contacts, 0)
	burst := min(opts.Burst, total)
	next := -1 // the index at which the burst in the middle begins
	if burst > 1 && opts.BurstEvery <= 0 {
		next = (total - burst) / 2
	}
	st.rows = make([]row, 0, total)
	at := opts.Start.UnixMilli()
	for submission := 1; len(st.rows) < total; submission++ {
		gap := g.gap(opts.Spacing)
		room := total - len(st.rows)
		begun := burst > 1 && opts.BurstEvery > 0 && submission%opts.BurstEvery == 0
		switch {
		case begun || len(st.rows) == next:
			for range min(burst, room) {
				st.rows = append(st.rows, g.contact(st, g.visitor(), 0, at))
			}
		case burst == 1:
			st.rows = append(st.rows, g.contact(st, g.visitor(), 0, at))
		default:
			if next > len(st.rows) {
				room = min(room, next-len(st.rows))
			}
			v := g.visitor()
			pause := g.pause(gap)
			for block := range min(v.blocks, room) {
				st.rows = append(st.rows, g.contact(st, v, block, at+int64(block)*pause))
			}
		}
		at += gap
	}
}

// gap draws the milliseconds from one submission to the next.
func (g *generator) gap(mean time.Duration) int64 {
	ms := max(mean.Milliseconds(), 1)
	return max(ms/2+g.rng.Int64N(ms), 1)
}

// pause draws the milliseconds between the blocks of a submission. Half of the
// submissions send theirs at once.
func (g *generator) pause(gap int64) int64 {
	pause := g.rng.Int64N(max(min(gap/8, 20_000), 1))
	if g.rng.IntN(2) == 0 {
		return 0
	}
	return pause
}

// DefaultAnonymous is how many of a hundred submissions are anonymous answers.
const DefaultAnonymous = 5

func (g *generator) visitor() *visitor {
	if g.unnamed > 0 && g.percent(g.unnamed) {
		return g.passerBy()
	}
	return g.customer()
}

// passerBy is a visitor who answers a survey, and leaves no address.
func (g *generator) passerBy() *visitor {
	v := g.customer()
	v.popup, v.blocks, v.session = &surveys[g.rng.IntN(len(surveys))], 1, ""
	if g.percent(50) {
		v.session = g.session()
	}
	return v
}

// customer is a visitor who leaves an email.
func (g *generator) customer() *visitor {
	p := g.rng.IntN(len(popups))
	v := &visitor{
		popup:   &popups[p],
		country: pick(g.rng, reachable[p]),
		mailbox: pick(g.rng, mailboxes),
		ascii:   g.rng.IntN(2) == 0,
		zone:    time.UTC,
		blocks:  1 + g.rng.IntN(len(popups[p].blocks)),
	}
	v.firstName = pick(g.rng, v.country.firstNames)
	v.lastName = pick(g.rng, v.country.lastNames)
	if v.blocks > 1 || g.percent(80) {
		v.session = g.session()
	}
	v.ip = g.address()
	switch n := g.rng.IntN(100); {
	case n < 4:
		v.nullCode = g.nulls
	case n < 92:
		v.hasCode = true
	}
	switch n := g.rng.IntN(100); {
	case n < 2:
		v.zone = utcInDigits
	case n < 4:
		v.zone = centralEurope
	}
	return v
}

// utcInDigits is written +00:00 instead of Z.
var (
	utcInDigits   = time.FixedZone("", 0)
	centralEurope = time.FixedZone("", 2*60*60)
)

func (g *generator) session() string {
	var id [24]byte
	bits := g.rng.Uint64()
	for i := range id {
		if i == 16 {
			bits = g.rng.Uint64()
		}
		id[i] = hexDigits[bits&15]
		bits >>= 4
	}
	return string(id[:])
}

// address draws an IP address of the ranges reserved for documentation.
func (g *generator) address() string {
	if g.percent(20) {
		b := []byte("2001:db8::")
		for range 2 {
			b = append(b, hexDigits[1+g.rng.IntN(15)])
			for range 3 {
				b = append(b, hexDigits[g.rng.IntN(16)])
			}
			b = append(b, ':')
		}
		return string(b[:len(b)-1])
	}
	prefix := pick(g.rng, []string{"192.0.2.", "198.51.100.", "203.0.113."})
	return string(appendInt([]byte(prefix), 1+g.rng.Int64N(254)))
}

func (g *generator) percent(n int) bool {
	return g.rng.IntN(100) < n
}

func pick[T any](rng *rand.Rand, from []T) T {
	return from[rng.IntN(len(from))]
}
