package poll

import (
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// progressInterval is how often a long run tells how far it is.
const progressInterval = 30 * time.Second

// progress tells an operator, seldom, how reading goes. A poll that finds nothing is not
// worth a line.
type progress struct {
	log   *service.Logger
	items string

	calls, messages int // since the input has caught up last
	begun, told     time.Time
	first           bool
}

func newProgress(log *service.Logger, items string) *progress {
	now := time.Now()
	return &progress{log: log, items: items, begun: now, told: now, first: true}
}

func (p *progress) called() { p.calls++ }

func (p *progress) read(messages int) {
	p.messages += messages
	if time.Since(p.told) < progressInterval {
		return
	}
	p.told = time.Now()
	perSecond := float64(p.messages) / max(time.Since(p.begun).Seconds(), 1)
	p.log.Infof("%d %s read so far, in %d calls, %.0f/s", p.messages, p.items, p.calls, perSecond)
}

func (p *progress) caughtUp(wait time.Duration) {
	now := time.Now()
	if p.messages > 0 || p.first {
		p.log.Infof("Caught up: %d %s in %d calls; the next poll is at %s", p.messages, p.items, p.calls, now.Add(wait).UTC().Format(time.RFC3339))
	}
	p.first = false
	p.calls, p.messages = 0, 0
	p.begun, p.told = now.Add(wait), now.Add(wait)
}

func (p *progress) finished() {
	p.log.Infof("Finished: %d %s in %d calls, all delivered", p.messages, p.items, p.calls)
}
