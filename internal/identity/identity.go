// Package identity reads emails and phones: one reading for the columns of a
// contact, their hashes, and the deletions that ask for them. It holds no state and
// makes no call.
//
// Its law: a value that was read reads as itself, with whatever country; so a
// deletion of what stands in a column asks for exactly that value. And no value is
// read that the text does not say: where two readings are possible there is none.
// The package's tests hold it to both.
//
// Errors never quote the text, and say what is wrong with it.
package identity

import (
	"errors"

	"github.com/wisepops-connect/wisepops-connect/wisepops"
)

var errNobody = errors.New("the message names nobody: email and phone are both empty")

// Read reads whom a request is about, as [ReadEmail] and [ReadPhone] do. Either text
// may be blank. One that cannot be read is an error, also beside another that can:
// half a deletion would pass for a whole one.
func Read(email, phone, country string) (who wisepops.Identity, err error) {
	email, phone = Clean(email), Clean(phone)
	if email == "" && phone == "" {
		return who, errNobody
	}
	if email != "" {
		if who.Email, err = ReadEmail(email); err != nil {
			return wisepops.Identity{}, err
		}
	}
	if phone != "" {
		if who.Phone, err = ReadPhone(phone, country); err != nil {
			return wisepops.Identity{}, err
		}
	}
	return who, nil
}
