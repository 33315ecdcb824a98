package destinations_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Benthos logs the body of an answer whose status is none of successful_on, and such a body
// may quote the contact: each list holds all of them.
func TestNoAnswerIsAnErrorThatBenthosLogs(t *testing.T) {
	files, err := filepath.Glob("../../config/*.yaml")
	require.NoError(t, err)
	lists := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, list := range regexp.MustCompile(`successful_on: \[([^\]]*)\]`).FindAllStringSubmatch(string(content), -1) {
			lists++
			statuses := strings.Count(list[1], ",") + 1
			require.GreaterOrEqual(t, statuses, 200, file)
			for _, status := range []string{"400", "416", "418", "444", "499", "500", "506", "599"} {
				require.Contains(t, list[1], status, file)
			}
		}
	}
	require.GreaterOrEqual(t, lists, 9)
}
