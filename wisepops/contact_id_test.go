package wisepops

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestContactIDTestVector(t *testing.T) {
	id, err := ContactID([]byte(` {"collected_at":"2019-10-10T12:10:58.389+02:00","wisepop_id":12345,"fields":{"Name":"Zo\u00eb","email":"a@example.com"}}`))
	require.NoError(t, err)
	require.Equal(t, "3e387188b05a61a130ee504a762623e0", id)
	cs, err := ParseContacts([]byte(" \n[ {\"a\":1} , {\"collected_at\":\"2019-10-10T10:10:58.389Z\",\"ip\":\"x\",\"fields\":{\"email\":\"a@example.com\",\"Name\":\"Zoë\"},\"wisepop_id\":12345}, 7]"))
	require.NoError(t, err)
	require.Len(t, cs, 3)
	require.Equal(t, `{"a":1}`, string(cs[0].Raw))
	require.Equal(t, "3e387188b05a61a130ee504a762623e0", cs[1].ID.String())
	require.Equal(t, `7`, string(cs[2].Raw))
}
