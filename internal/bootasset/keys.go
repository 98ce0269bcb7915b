package bootasset

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/graftlinux/graft/internal/profile"
	"github.com/graftlinux/graft/internal/secureboot"
)

// Keys are what an asset for Secure Boot is signed with.
type Keys struct {
	// Program signs EFI programs, PCR the policies of a TPM.
	Program, PCR secureboot.Signer
	// Enrol are the files that firmware is to take its keys from, by their
	// names below loader/keys/auto.
	Enrol []secureboot.File

	open []io.Closer
}

// OpenKeys opens the keys of a plan; nil if the plan is for no Secure Boot.
func OpenKeys(ctx context.Context, plan *profile.Plan, epoch time.Time) (_ *Keys, err error) {
	if !plan.Profile.Secure() {
		return nil, nil
	}
	k := &Keys{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("opening the keys for Secure Boot: %w", err), k.Close())
		}
	}()
	in := plan.Profile.Input.SecureBoot
	if k.Program, err = k.signer(ctx, in.SecureBootSigner, secureboot.LoadKey); err != nil {
		return nil, err
	}
	if k.PCR, err = k.signer(ctx, in.PCRSigner, func(key, _ string) (*secureboot.Key, error) { return secureboot.LoadPCRKey(key) }); err != nil {
		return nil, err
	}
	k.Enrol, err = enrolment(ctx, plan, k.Program, epoch)
	return k, err
}

// signer is a key in a file, or behind a socket.
func (k *Keys) signer(ctx context.Context, s profile.Signer, load func(key, certificate string) (*secureboot.Key, error)) (secureboot.Signer, error) {
	if s.SignerAddress == "" {
		return load(s.KeyPath, s.CertPath)
	}
	r, err := secureboot.Dial(ctx, s.SignerAddress)
	if err != nil {
		return nil, &SignerError{err}
	}
	k.open = append(k.open, r)
	return service{r}, nil
}

// SignerError says that a service did not sign.
type SignerError struct{ Err error }

func (e *SignerError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *SignerError) Unwrap() error { return e.Err }

// service is a signer whose errors are SignerErrors.
type service struct{ *secureboot.Remote }

// Sign implements secureboot.Signer.
func (s service) Sign(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error) {
	signature, err := s.Remote.Sign(ctx, digest, hash)
	if err != nil {
		return nil, &SignerError{err}
	}
	return signature, nil
}

// maxKeyFile bounds an enrolment file: one with all of Microsoft's certificates
// has 8 kB.
const maxKeyFile = 1 << 20

// enrolment reads the files that firmware is to enrol, or makes those that
// nobody has given.
func enrolment(ctx context.Context, plan *profile.Plan, key secureboot.Signer, epoch time.Time) ([]secureboot.File, error) {
	var files, made []secureboot.File
	for _, f := range plan.KeyFiles {
		data, err := readLimited(f.Path, maxKeyFile)
		if err == nil {
			if err := checkUpdate(f, data, key); err != nil {
				return nil, fmt.Errorf("reading %s: %w", f.Path, err)
			}
			files = append(files, secureboot.File{Name: f.Name, Data: data})
			continue
		}
		if !f.Optional || !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if plan.Profile.Input.SecureBoot.IncludeWellKnownCerts {
			return nil, secureboot.ErrWellKnown
		}
		if made == nil {
			if made, err = (secureboot.Enrolment{Time: epoch}).Updates(ctx, key); err != nil {
				return nil, err
			}
		}
		for _, m := range made {
			if m.Name == f.Name {
				files = append(files, m)
			}
		}
	}
	return files, nil
}

// checkUpdate refuses what firmware would refuse, or enrol to its own harm: once
// it has a db without the key that signs the asset, it starts it no more.
func checkUpdate(f profile.KeyFile, data []byte, key secureboot.Signer) error {
	u, err := secureboot.ParseUpdate(data)
	if err != nil {
		return err
	}
	entries, err := secureboot.ParseDatabase(u.Content)
	c := key.Certificate()
	if err != nil || f.Name != secureboot.DB.Name+".auth" || c == nil {
		return err
	}
	for _, e := range entries {
		if e.Certificate != nil && (e.Certificate.Equal(c) || c.CheckSignatureFrom(e.Certificate) == nil) {
			return nil
		}
	}
	return fmt.Errorf("the certificate that signs the asset (%s) is not among the %d entries: firmware that has enrolled them starts it no more", c.Subject, len(entries))
}

func readLimited(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("reading %s: more than the %d bytes that are allowed", name, most)
	}
	return data, err
}

// Close ends connections to signers.
func (k *Keys) Close() error {
	if k == nil {
		return nil
	}
	var errs []error
	for _, c := range k.open {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
