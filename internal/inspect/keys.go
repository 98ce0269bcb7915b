package inspect

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"path"
	"time"

	"github.com/graftlinux/graft/internal/secureboot"
)

// Certificate says whose key it is.
type Certificate struct {
	Subject     string    `json:"subject" yaml:"subject"`
	Issuer      string    `json:"issuer" yaml:"issuer"`
	Fingerprint string    `json:"fingerprint" yaml:"fingerprint"` // SHA-256 of the whole, hexadecimal
	NotBefore   time.Time `json:"notBefore" yaml:"notBefore"`
	NotAfter    time.Time `json:"notAfter" yaml:"notAfter"`
}

func certificateOf(c *x509.Certificate) *Certificate {
	if c == nil {
		return nil
	}
	return &Certificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Fingerprint: secureboot.Fingerprint(c),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
	}
}

// Enrolment is a signed write to a variable of Secure Boot.
type Enrolment struct {
	Variable string        `json:"variable" yaml:"variable"` // by the name of the file
	Time     time.Time     `json:"time" yaml:"time"`
	Signer   *Certificate  `json:"signer,omitempty" yaml:"signer,omitempty"`
	Keys     []EnrolledKey `json:"keys" yaml:"keys"`
}

// EnrolledKey is what firmware comes to trust.
type EnrolledKey struct {
	Owner       string       `json:"owner" yaml:"owner"` // UUID
	Certificate *Certificate `json:"certificate,omitempty" yaml:"certificate,omitempty"`
	SHA256      string       `json:"sha256,omitempty" yaml:"sha256,omitempty"` // of a program
}

// variables are those whose updates have files of their names.
var variables = map[string]secureboot.Variable{"PK.auth": secureboot.PK, "KEK.auth": secureboot.KEK, "db.auth": secureboot.DB}

func (i *inspector) enrolment(e *Entry, data []byte) error {
	u, err := secureboot.ParseUpdate(data)
	if err != nil {
		return err
	}
	entries, err := secureboot.ParseDatabase(u.Content)
	if err != nil {
		return err
	}
	v, known := variables[path.Base(e.Path)]
	e.Enrolment = &Enrolment{Variable: v.Name, Time: u.Time, Signer: certificateOf(u.Signer())}
	for _, k := range entries {
		e.Enrolment.Keys = append(e.Enrolment.Keys, EnrolledKey{k.Owner.String(), certificateOf(k.Certificate), hex.EncodeToString(k.SHA256)})
	}
	switch signer := u.Signer(); {
	case !known:
	case signer == nil:
		i.problem("the update of %s does not have the certificate of who signed it", v.Name)
	default:
		if err := u.Verify(v, signer); err != nil {
			return fmt.Errorf("firmware will refuse it: %w", err)
		}
	}
	return nil
}
