package secureboot

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// keyBits is what all firmware and all TPMs can do.
const keyBits = 2048

// The names of what GenerateKeys writes.
const (
	SigningKeyFile         = "uki-signing-key.pem"
	SigningCertificateFile = "uki-signing-cert.pem"
	SigningDERFile         = "uki-signing-cert.der"
	PCRKeyFile             = "pcr-signing-key.pem"
)

// GenerateKeys makes two RSA keys in a directory: one that signs EFI programs,
// with a self-signed certificate and PK.auth, KEK.auth and db.auth that enrol
// it, and one that signs PCR policies. The directory is made if it is not
// there; if one of the files is, nothing is written. It returns the names.
func GenerateKeys(ctx context.Context, dir, commonName string, notBefore, notAfter time.Time) ([]string, error) {
	files, err := generate(ctx, commonName, notBefore, notAfter)
	if err != nil {
		return nil, fmt.Errorf("generating keys: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("generating keys: %w", err)
	}
	if err := writeNew(dir, files); err != nil {
		return nil, fmt.Errorf("generating keys: %w", err)
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	return names, nil
}

// generate makes all files.
func generate(ctx context.Context, commonName string, notBefore, notAfter time.Time) ([]File, error) {
	signing, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	policy, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	c, err := selfSigned(signing, commonName, notBefore, notAfter)
	if err != nil {
		return nil, err
	}
	updates, err := Enrolment{Time: notBefore}.Updates(ctx, &Key{signing, c})
	if err != nil {
		return nil, err
	}
	return append([]File{
		{SigningKeyFile, keyPEM(signing)},
		{SigningCertificateFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})},
		{SigningDERFile, c.Raw},
		{PCRKeyFile, keyPEM(policy)},
	}, updates...), nil
}

func selfSigned(key *rsa.PrivateKey, commonName string, notBefore, notAfter time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true, // it stands in PK and KEK, which issue others
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func keyPEM(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// writeNew writes files that do not exist, all of them or none.
func writeNew(dir string, files []File) error {
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.Name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w; keys are never written over", filepath.Join(dir, f.Name), fs.ErrExist)
		}
	}
	for i, f := range files {
		if err := writeOne(filepath.Join(dir, f.Name), f.Data); err != nil {
			for _, done := range files[:i] {
				os.Remove(filepath.Join(dir, done.Name))
			}
			return err
		}
	}
	return nil
}

// writeOne writes a file, which only its owner can read if it has a private
// key in it.
func writeOne(path string, data []byte) error {
	mode := fs.FileMode(0o644)
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		mode = 0o600
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}
