// Package input imports the Benthos inputs that bring what Wisepops collects into a
// pipeline, and so registers them.
package input

import (
	// Each registers its input.
	_ "github.com/wisepops-connect/wisepops-connect/input/contacts"
	_ "github.com/wisepops-connect/wisepops-connect/input/performance"
	_ "github.com/wisepops-connect/wisepops-connect/input/webhook"
)
