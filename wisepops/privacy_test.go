package wisepops

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDeleteData(t *testing.T) {
	c, asked := answering(t, 200, `{"deleted":1}`)
	n, err := c.DeleteData(t.Context(), Identity{Email: "test@test.com", Phone: "+123456789"})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = c.DeleteData(t.Context(), Identity{Phone: "+123456789"})
	require.NoError(t, err)
	_, err = c.DeleteData(t.Context(), Identity{Email: "é@example.com"})
	require.NoError(t, err)
	require.Equal(t, []string{
		`DELETE /data-privacy {"email":"test@test.com","phone":"+123456789"}`,
		`DELETE /data-privacy {"phone":"+123456789"}`,
		`DELETE /data-privacy {"email":"é@example.com"}`,
	}, *asked)
}

func TestDeleteDataOfNobodyMakesNoCall(t *testing.T) {
	c, asked := answering(t, 200, `{"deleted":1}`)
	_, err := c.DeleteData(t.Context(), Identity{})
	require.Error(t, err)
	require.Empty(t, *asked)
}

func TestDeleteDataAnswers(t *testing.T) {
	for body, want := range map[string]int{`{"deleted":0}`: 0, `{"deleted":"3"}`: 3, ` {"deleted":12,"more":1}`: 12} {
		c, _ := answering(t, 200, body)
		n, err := c.DeleteData(t.Context(), Identity{Email: "a@example.com"})
		require.NoError(t, err, body)
		assert.Equal(t, want, n, body)
	}
	for _, body := range []string{``, `{}`, `null`, `[]`, `1`, `{"deleted":null}`, `{"deleted":-1}`, `{"deleted":1.5}`, `{"deleted":tr`, `<html>a@example.com`} {
		c, _ := answering(t, 200, body)
		_, err := c.DeleteData(t.Context(), Identity{Email: "a@example.com"})
		var formatErr *FormatError
		require.ErrorAs(t, err, &formatErr, body)
		assert.NotContains(t, err.Error(), "example")
	}
}

func TestDeleteDataIsRetried(t *testing.T) {
	c, asked := answering(t, 500, ``)
	_, err := c.DeleteData(t.Context(), Identity{Email: "a@example.com"})
	require.ErrorContains(t, err, "DELETE /data-privacy: status 500")
	require.NotContains(t, err.Error(), "example")
	require.Len(t, *asked, 3)
	require.Equal(t, (*asked)[0], (*asked)[2])
}
