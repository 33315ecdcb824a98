package webhook

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	bodyTimeout = time.Second
	goleak.VerifyTestMain(m)
}
