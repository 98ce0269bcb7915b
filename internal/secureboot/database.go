package secureboot

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
)

// Variable is an EFI variable that holds a database of keys.
type Variable struct {
	Name   string
	Vendor uuid.UUID
}

// The variables of Secure Boot.
var (
	PK  = Variable{"PK", globalVariable}
	KEK = Variable{"KEK", globalVariable}
	DB  = Variable{"db", imageSecurity}
)

var (
	globalVariable = uuid.MustParse("8be4df61-93ca-11d2-aa0d-00e098032b8c") // EFI_GLOBAL_VARIABLE
	imageSecurity  = uuid.MustParse("d719b2cb-3d3a-4596-a3bc-dad00e67656f") // EFI_IMAGE_SECURITY_DATABASE_GUID
	typeX509       = uuid.MustParse("a5c059a1-94e4-4aa7-87b5-ab155c2bf072") // EFI_CERT_X509_GUID
	typeSHA256     = uuid.MustParse("c1c41626-504c-4092-aca9-41f936934328") // EFI_CERT_SHA256_GUID
)

// Entry is an entry of a database.
type Entry struct {
	// Owner says who put it there. It means nothing to firmware.
	Owner uuid.UUID
	// Certificate of a trusted key; nil if the entry is something else.
	Certificate *x509.Certificate
	// SHA256 is the digest of a program; nil if the entry is something else.
	SHA256 []byte
}

// OwnerOf is the owner of entries of a certificate if nothing else is said: a
// name-based UUID of the certificate, with SHA-256, as Talos makes it.
func OwnerOf(c *x509.Certificate) uuid.UUID {
	return uuid.NewHash(sha256.New(), uuid.NameSpaceX500, c.Raw, 4)
}

// Sizes of the parts of a list, in bytes.
const (
	listHeaderSize = 16 + 3*4
	ownerSize      = 16
)

// maxDatabase is how long a database can be that is read, in bytes. Firmware
// takes some 100 KiB.
const maxDatabase = 1 << 20

// EncodeDatabase returns entries of certificates as signature lists
// (EFI_SIGNATURE_LIST, the form of .esl files): each in a list of its own, as
// entries of one list have one size.
func EncodeDatabase(entries []Entry) []byte {
	var b []byte
	for _, e := range entries {
		size := ownerSize + len(e.Certificate.Raw)
		b = appendGUID(b, typeX509)
		b = binary.LittleEndian.AppendUint32(b, uint32(listHeaderSize+size))
		b = binary.LittleEndian.AppendUint32(b, 0) // a header, which no type has
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		b = appendGUID(b, e.Owner)
		b = append(b, e.Certificate.Raw...)
	}
	return b
}

// ParseDatabase reads signature lists. Entries of other types than
// certificates and digests have only an owner.
func ParseDatabase(b []byte) ([]Entry, error) {
	if len(b) > maxDatabase {
		return nil, fmt.Errorf("parsing a key database: %d bytes are too many; %d at most are read", len(b), maxDatabase)
	}
	var all []Entry
	for at := 0; at < len(b); {
		entries, n, err := parseList(b[at:])
		if err != nil {
			return nil, fmt.Errorf("parsing a key database: the list at %d: %w", at, err)
		}
		all = append(all, entries...)
		at += n
	}
	return all, nil
}

// parseList reads the first list and tells its length.
func parseList(b []byte) ([]Entry, int, error) {
	if len(b) < listHeaderSize {
		return nil, 0, fmt.Errorf("%d bytes are too few", len(b))
	}
	kind, length := guid(b), int64(binary.LittleEndian.Uint32(b[16:]))
	header, size := int64(binary.LittleEndian.Uint32(b[20:])), int64(binary.LittleEndian.Uint32(b[24:]))
	start := listHeaderSize + header
	if length > int64(len(b)) || start > length || size <= ownerSize || (length-start)%size != 0 {
		return nil, 0, fmt.Errorf("%d bytes with a header of %d and entries of %d do not fit into %d", length, header, size, len(b))
	}
	var entries []Entry
	for at := start; at < length; at += size {
		e, err := parseEntry(kind, b[at:at+size])
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, e)
	}
	return entries, int(length), nil
}

func parseEntry(kind uuid.UUID, b []byte) (Entry, error) {
	e, data := Entry{Owner: guid(b)}, b[ownerSize:]
	switch kind {
	case typeX509:
		c, err := x509.ParseCertificate(data)
		if err != nil {
			return e, err
		}
		e.Certificate = c
	case typeSHA256:
		if len(data) != sha256.Size {
			return e, fmt.Errorf("a SHA-256 of %d bytes", len(data))
		}
		e.SHA256 = data
	}
	return e, nil
}

// appendGUID appends a UUID in the form of EFI: its first three numbers are
// little-endian.
func appendGUID(b []byte, id uuid.UUID) []byte {
	swapped := swapGUID(id)
	return append(b, swapped[:]...)
}

func guid(b []byte) uuid.UUID { return swapGUID(uuid.UUID(b[:16])) }

func swapGUID(id uuid.UUID) uuid.UUID {
	for _, pair := range [][2]int{{0, 3}, {1, 2}, {4, 5}, {6, 7}} {
		id[pair[0]], id[pair[1]] = id[pair[1]], id[pair[0]]
	}
	return id
}
