// Package exit lets a component fail the process that it ends: Benthos exits with 0
// whenever its inputs have ended, whatever they left undone.
package exit

import "sync/atomic"

var failed atomic.Bool

// Fail has the process exit with a code other than 0, once it ends by itself.
func Fail() { failed.Store(true) }

// Failed reports whether a component failed the process.
func Failed() bool { return failed.Load() }
