package secureboot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ErrWellKnown is why the well-known certificates cannot be enrolled by
// themselves.
var ErrWellKnown = errors.New("enrolling well-known certificates: graft does not contain Microsoft's certificates; give those that are wanted in KEK and db as files")

// MicrosoftOwner is the owner of Microsoft's entries in all databases.
var MicrosoftOwner = uuid.MustParse("77fa9abd-0359-4d32-bd60-28f4e78f784b")

// Enrolment is what firmware shall come to trust: one key in all variables,
// and perhaps others.
type Enrolment struct {
	// Owner of the key's entries; OwnerOf its certificate if zero.
	Owner uuid.UUID
	// KEK and DB are entries beside those of the key.
	KEK, DB []Entry
	// Time of the updates.
	Time time.Time
}

// File is a file to be written.
type File struct {
	Name string
	Data []byte
}

// Updates returns PK.auth, KEK.auth and db.auth, signed by the key that they
// enrol. Firmware in setup mode takes them in the reverse order, as PK ends
// that mode.
func (e Enrolment) Updates(ctx context.Context, key Signer) ([]File, error) {
	c := key.Certificate()
	if c == nil {
		return nil, errors.New("enrolling a key: it has no certificate")
	}
	own := Entry{Owner: e.Owner, Certificate: c}
	if own.Owner == uuid.Nil {
		own.Owner = OwnerOf(c)
	}
	var files []File
	for _, db := range []struct {
		variable Variable
		others   []Entry
	}{{PK, nil}, {KEK, e.KEK}, {DB, e.DB}} {
		content := EncodeDatabase(append([]Entry{own}, db.others...))
		update, err := SignUpdate(ctx, db.variable, content, e.Time, key)
		if err != nil {
			return nil, fmt.Errorf("enrolling a key: %w", err)
		}
		files = append(files, File{db.variable.Name + ".auth", update})
	}
	return files, nil
}
