package poll

// broadcast wakes all that wait for the next change.
type broadcast struct{ ch chan struct{} }

func newBroadcast() broadcast { return broadcast{make(chan struct{})} }

// next is closed at the next change.
func (b *broadcast) next() <-chan struct{} { return b.ch }

func (b *broadcast) notify() {
	close(b.ch)
	b.ch = make(chan struct{})
}
