// Command wisepops-connect-full is Redpanda Connect with all of its components under the
// Apache License, and the Wisepops plugins.
package main

import (
	"context"
	"io"
	"log"

	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/community"

	_ "github.com/wisepops-connect/wisepops-connect/input"
	_ "github.com/wisepops-connect/wisepops-connect/output"
	_ "github.com/wisepops-connect/wisepops-connect/processor"
	_ "github.com/wisepops-connect/wisepops-connect/ratelimit"
)

func main() {
	log.SetOutput(io.Discard) // net/http prints surplus bytes of a response there
	service.RunCLI(context.Background())
}
