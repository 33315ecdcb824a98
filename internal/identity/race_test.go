//go:build race

package identity

// raceEnabled reports whether the race detector is at work, which makes reading some
// thirty times slower.
const raceEnabled = true
