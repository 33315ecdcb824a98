// Package e2e_test runs the built binary against the sandbox, as an operator
// would: configuration files in, exit codes, logs and delivered contacts out.
//
//	E2E_KILLS=100   kill -9 that often in each backfill (a few by default)
//	E2E_SEED=42     the seed of everything random; printed when not given
//	E2E_BINARY=path test that binary instead of building one
package e2e_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The binary under test, and the seed of everything random.
var (
	binary string
	seed   uint64
)

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	seed = uint64(time.Now().UnixNano()) % 1_000_000
	if given := os.Getenv("E2E_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			fmt.Fprintln(os.Stderr, "E2E_SEED is not a number")
			return 2
		}
	}
	fmt.Printf("E2E_SEED=%d\n", seed)

	// Most tests wait most of the time.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4")
	}

	if binary = os.Getenv("E2E_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "wisepops-connect")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the binary: %v\n%s", err, out)
		return 2
	}
	return m.Run()
}

// newRand returns random numbers that follow from the seed and the test's name.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	var name uint64 = 14695981039346656037
	for _, b := range []byte(t.Name()) {
		name = (name ^ uint64(b)) * 1099511628211
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to run again with the same random numbers: E2E_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, name))
}

// kills is how often a backfill is killed.
func kills(t *testing.T, byDefault int) int {
	t.Helper()
	given := os.Getenv("E2E_KILLS")
	if given == "" {
		return byDefault
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < 1 {
		t.Fatal("E2E_KILLS is not a positive number")
	}
	return n
}
