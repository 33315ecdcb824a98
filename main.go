// Command wisepops-connect is Benthos (Redpanda Connect) with the Wisepops plugins, the
// usual sinks, and commands of its own.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"log"
	"os"
	"runtime/debug"

	"github.com/redpanda-data/benthos/v4/public/service"

	// Components of Benthos and Redpanda Connect.
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	_ "github.com/redpanda-data/connect/v4/public/components/amqp09"
	_ "github.com/redpanda-data/connect/v4/public/components/kafka"
	_ "github.com/redpanda-data/connect/v4/public/components/mqtt"
	_ "github.com/redpanda-data/connect/v4/public/components/nats"
	_ "github.com/redpanda-data/connect/v4/public/components/prometheus"
	_ "github.com/redpanda-data/connect/v4/public/components/redis"
	_ "github.com/redpanda-data/connect/v4/public/components/sql/base"

	// Drivers of the sql components.
	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	_ "modernc.org/sqlite"

	"github.com/wisepops-connect/wisepops-connect/command"
	"github.com/wisepops-connect/wisepops-connect/internal/exit"

	// Our plugins.
	_ "github.com/wisepops-connect/wisepops-connect/input"
	_ "github.com/wisepops-connect/wisepops-connect/output"
	_ "github.com/wisepops-connect/wisepops-connect/processor"
	_ "github.com/wisepops-connect/wisepops-connect/ratelimit"
)

// version and date are set by the linker.
var (
	version = "dev"
	date    = ""
)

//go:embed config/demo.yaml
var demoPipeline string

// gcPercent trades memory for speed: a pipeline's live heap is small, and its
// garbage, a few messages a contact, is not.
const gcPercent = 200

func main() {
	// net/http prints bytes that a server sent too many to the standard logger, and
	// they may be a contact's. Benthos has a logger of its own.
	log.SetOutput(io.Discard)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	code, err := service.RunCLIToCode(
		context.Background(),
		service.CLIOptSetVersion(version, date),
		service.CLIOptSetBinaryName("wisepops-connect"),
		service.CLIOptSetProductName("Wisepops Connect"),
		service.CLIOptSetDocumentationURL("https://github.com/wisepops-connect/wisepops-connect"),
		service.CLIOptSetEnvVarLookup(lookup),
		service.CLIOptAddCommand(command.Demo(demoPipeline)),
		service.CLIOptAddCommand(command.Sandbox()),
		service.CLIOptAddCommand(command.Hooks()),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if code == 0 && exit.Failed() {
		code = 1
	}
	os.Exit(code)
}

// lookup finds a variable of the environment for a pipeline. Whoever writes rows to
// PostgreSQL, and keeps the state there too, names the database once: Benthos has no default
// that is another variable.
func lookup(_ context.Context, name string) (value string, ok bool) {
	value, ok = os.LookupEnv(name)
	if value == "" && name == "WISEPOPS_STATE_DSN" {
		return os.LookupEnv("POSTGRES_DSN")
	}
	return value, ok
}
