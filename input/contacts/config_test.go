package contacts

import (
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

func TestOverlapIsAutoOrADuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"": autoOverlap, "auto": autoOverlap, "0s": 0, "1h": time.Hour, "90m": 90 * time.Minute} {
		yaml := "api_key: k\ncheckpoint_cache: state\n"
		if text != "" {
			yaml += "overlap: " + text + "\n"
		}
		parsed, err := spec().ParseYAML(yaml, nil)
		require.NoError(t, err)
		c, err := parseConfig(parsed)
		require.NoError(t, err, text)
		require.Equal(t, want, c.overlap, text)
	}
	for _, text := range []string{"soon", "-1s", "Auto", "1"} {
		parsed, err := spec().ParseYAML("api_key: k\ncheckpoint_cache: state\noverlap: \""+text+"\"\n", nil)
		require.NoError(t, err)
		_, err = parseConfig(parsed)
		require.ErrorContains(t, err, "overlap must be auto or a duration", text)
	}
}

func TestOverlapIsLinted(t *testing.T) {
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterBatchInput("wisepops_contacts", spec(), func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
		return nil, nil
	}))
	for text, lints := range map[string]int{"auto": 0, "1h": 0, "0s": 0, "soon": 1, "-1h": 1} {
		b := env.NewStreamBuilder()
		err := b.AddInputYAML("wisepops_contacts:\n  api_key: k\n  checkpoint_cache: \"\"\n  overlap: \"" + text + "\"\n")
		if lints == 0 {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, "overlap must be auto or a duration", text)
		}
	}
}
