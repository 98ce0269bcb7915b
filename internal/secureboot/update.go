package secureboot

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/google/uuid"
)

// typePKCS7 is EFI_CERT_TYPE_PKCS7_GUID.
var typePKCS7 = uuid.MustParse("4aafd29d-68df-49ee-8aa9-347d375665a7")

const (
	// updateAttributes are those of the variables: non-volatile, accessible to
	// boot services and at run time, time-based authenticated write access.
	updateAttributes = 0x27

	timeSize              = 16
	certificateHeaderSize = 8 + 16 // WIN_CERTIFICATE_UEFI_GUID
	certificateRevision   = 0x0200
	certificateEFIGUID    = 0x0ef1 // WIN_CERT_TYPE_EFI_GUID
)

// Update is a signed write to a variable (EFI_VARIABLE_AUTHENTICATION_2 and a
// database, the form of .auth files).
type Update struct {
	// Time has a precision of seconds. Firmware refuses a write that is not
	// later than the one before.
	Time    time.Time
	Content []byte

	stamp     []byte // the time as it was signed
	signature *signedData
}

// SignUpdate makes the content of a variable acceptable to firmware that
// trusts the key, or that trusts none yet.
func SignUpdate(ctx context.Context, v Variable, content []byte, at time.Time, key Signer) ([]byte, error) {
	stamp := encodeTime(at)
	signature, err := signDetached(ctx, key, signedUpdate(v, stamp, content))
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", v.Name, err)
	}
	b := append([]byte(nil), stamp...)
	b = binary.LittleEndian.AppendUint32(b, uint32(certificateHeaderSize+len(signature)))
	b = binary.LittleEndian.AppendUint16(b, certificateRevision)
	b = binary.LittleEndian.AppendUint16(b, certificateEFIGUID)
	b = appendGUID(b, typePKCS7)
	b = append(b, signature...)
	return append(b, content...), nil
}

// signedUpdate is what the signature covers.
func signedUpdate(v Variable, stamp, content []byte) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(v.Name)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	b = appendGUID(b, v.Vendor)
	b = binary.LittleEndian.AppendUint32(b, updateAttributes)
	b = append(b, stamp...)
	return append(b, content...)
}

// encodeTime is an EFI_TIME in UTC. Parts of a second and the zone are zero, as
// authenticated variables want it.
func encodeTime(t time.Time) []byte {
	t = t.UTC()
	b := binary.LittleEndian.AppendUint16(nil, uint16(t.Year()))
	b = append(b, byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()))
	return append(b, make([]byte, timeSize-len(b))...)
}

func decodeTime(b []byte) time.Time {
	return time.Date(int(binary.LittleEndian.Uint16(b)), time.Month(b[2]), int(b[3]), int(b[4]), int(b[5]), int(b[6]), 0, time.UTC)
}

// ParseUpdate reads a signed write. The variable that it is for is not in it:
// [Update.Verify] has to know.
func ParseUpdate(b []byte) (*Update, error) {
	if len(b) > maxDatabase {
		return nil, fmt.Errorf("parsing a signed update: %d bytes are too many; %d at most are read", len(b), maxDatabase)
	}
	if len(b) < timeSize+certificateHeaderSize {
		return nil, fmt.Errorf("parsing a signed update: %d bytes are too few", len(b))
	}
	rest := b[timeSize:]
	length := int64(binary.LittleEndian.Uint32(rest))
	if length < certificateHeaderSize || length > int64(len(rest)) {
		return nil, fmt.Errorf("parsing a signed update: a signature of %d bytes does not fit into %d", length, len(rest))
	}
	if kind, id := binary.LittleEndian.Uint16(rest[6:]), guid(rest[8:]); kind != certificateEFIGUID || id != typePKCS7 {
		return nil, fmt.Errorf("parsing a signed update: its signature is of type %#x %s and not PKCS #7", kind, id)
	}
	signature, err := parseSignedData(rest[certificateHeaderSize:length])
	if err != nil {
		return nil, fmt.Errorf("parsing a signed update: %w", err)
	}
	return &Update{decodeTime(b), rest[length:], b[:timeSize], signature}, nil
}

// Signer is the certificate of who signed, nil if the update does not have it.
func (u *Update) Signer() *x509.Certificate { return u.signature.signer() }

// Verify checks whether the update is of a variable and is signed by a key for
// which the trusted certificate stands.
func (u *Update) Verify(v Variable, trusted *x509.Certificate) error {
	if err := u.signature.verifyBy(trusted, signedUpdate(v, u.stamp, u.Content)); err != nil {
		return fmt.Errorf("verifying the update of %s: %w", v.Name, err)
	}
	return nil
}
