package contacts

import (
	"fmt"
	"time"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

// warning is something that an operator should know of the API, the clocks or the
// watermark. It is told once, and again where it changes.
type warning struct {
	kind       warningKind
	from, to   int64 // instants, by kind
	size, want int   // counts, by kind
}

type warningKind int

const (
	warnPageIgnored warningKind = iota + 1
	warnPageCapped
	warnPageFiltered
	warnBoundEarly
	warnGap
	warnMiscounted
	warnClocksDiffer
	warnSetBack
	warnSweepRestarted
	warnVanishing
	warnReachShort
	warnUnanswered
)

// once reports whether a warning of the kind is told once, whatever its instants.
func (k warningKind) once() bool {
	return k == warnPageIgnored || k == warnPageFiltered || k == warnBoundEarly || k == warnReachShort || k == warnUnanswered || k == warnClocksDiffer
}

// text is the line to log. It holds no contact.
func (w warning) text() string {
	switch w.kind {
	case warnPageIgnored:
		return "The API ignores the page number: reading goes on by collected_after, which finds everything as long as no instant holds more contacts than a page"
	case warnPageCapped:
		return fmt.Sprintf("The API cuts pages to %d contacts, whatever page_size is requested: reading goes on in pages of %d, which cost more calls", w.size, w.size)
	case warnPageFiltered:
		return "The API returns short pages although more contacts follow, as if it left contacts out after it cut the page: each run reads on until pages are empty, and whether it found everything cannot be known"
	case warnBoundEarly:
		return "The API returns contacts from before the collected_after that was requested: those are taken as delivered. Look at what is in front of the API, and at its time zone"
	case warnGap:
		return fmt.Sprintf("The API ignores the page number and does not serve oldest contacts first: contacts collected between %s and %s may exist that no request returns. An input for each wisepop_id has fewer of them", instant(w.from), instant(w.to))
	case warnMiscounted:
		return fmt.Sprintf("The API returns more contacts than its pages held (%d, and the pages held %d): they were read again, and whether everything was found cannot be known", w.size, w.want)
	case warnClocksDiffer:
		return fmt.Sprintf("The clock of the API says %s and this machine's %s: one of them is wrong, and the watermark follows the one that agrees with the contacts", instant(w.from), instant(w.to))
	case warnSetBack:
		return fmt.Sprintf("The watermark %s lies ahead of the clocks: it is set back to %s, where it stood before a clock jumped ahead, and contacts may be repeated", instant(w.from), instant(w.to))
	case warnSweepRestarted:
		return "Contacts vanished from the API while its pages were read, more than pages overlap by: they are read again, and may be repeated"
	case warnVanishing:
		return "Contacts vanish from the API faster than its pages can be read: contacts may have been passed, and whether everything was found cannot be known"
	case warnReachShort:
		return fmt.Sprintf("The API ignores the page number, and more contacts than a page were collected within the %s that contacts appear late by (at %s): late ones may have been passed", time.Duration(w.to)*time.Millisecond, instant(w.from))
	case warnUnanswered:
		return "The API answers nothing where contacts were counted: they were erased, or something in front of the API hides them; it is checked again in a day"
	default:
		return "The API behaves in an unknown way"
	}
}

func instant(at int64) string {
	if at == beginning {
		return "the first contact"
	}
	return wisepops.FormatTime(time.UnixMilli(at))
}

// unreadableError says that contacts cannot be read whatever is requested.
type unreadableError struct {
	at   int64
	size int
	all  bool // neither page nor bound is honoured
}

func (e *unreadableError) Error() string {
	if e.all {
		return fmt.Sprintf("the API answers the same %d contacts, whatever page and collected_after are requested: contacts after %s cannot be read; ask Wisepops, or look at what is in front of the API", e.size, instant(e.at))
	}
	return fmt.Sprintf("more contacts were collected at %s than the %d that the API returns at a time, and it ignores the page number: those that follow cannot be read; read each pop-up with an input of its own (wisepop_id), or start over behind that instant with collected_after and another checkpoint_cache_key", instant(e.at), e.size)
}
