package secureboot

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// Signer signs with an RSA key that may be elsewhere.
type Signer interface {
	// Certificate of the key; nil for one that signs PCR policies only.
	Certificate() *x509.Certificate
	PublicKey() *rsa.PublicKey
	// Sign returns the PKCS #1 v1.5 signature of a digest.
	Sign(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error)
}

// minBits is how long a key must be: less is neither safe nor known to TPMs.
const minBits = 2048

// Key is a Signer whose key is in memory.
type Key struct {
	private     *rsa.PrivateKey
	certificate *x509.Certificate
}

// Certificate implements Signer.
func (k *Key) Certificate() *x509.Certificate { return k.certificate }

// PublicKey implements Signer.
func (k *Key) PublicKey() *rsa.PublicKey { return &k.private.PublicKey }

// Sign implements Signer.
func (k *Key) Sign(_ context.Context, digest []byte, hash crypto.Hash) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, k.private, hash, digest)
}

// LoadKey reads an RSA key and its certificate from PEM files: PKCS #1 or
// PKCS #8, not encrypted.
func LoadKey(keyPath, certificatePath string) (*Key, error) {
	k, err := LoadPCRKey(keyPath)
	if err != nil {
		return nil, err
	}
	if k.certificate, err = LoadCertificate(certificatePath); err != nil {
		return nil, err
	}
	if !k.PublicKey().Equal(k.certificate.PublicKey) {
		return nil, fmt.Errorf("loading the signing key: the certificate %s (%s) is of another key than %s", certificatePath, k.certificate.Subject, keyPath)
	}
	return k, nil
}

// LoadPCRKey reads an RSA key without a certificate.
func LoadPCRKey(path string) (*Key, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("loading the signing key: %w", err)
	}
	private, err := parseKey(b)
	if err != nil {
		return nil, fmt.Errorf("loading the signing key %s: %w", path, err)
	}
	return &Key{private: private}, nil
}

// parseKey reads the first PEM block that is a private key.
func parseKey(b []byte) (*rsa.PrivateKey, error) {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Headers["DEK-Info"] != "" {
			return nil, errors.New("it is encrypted; only plain keys can be read")
		}
		switch block.Type {
		case "RSA PRIVATE KEY":
			key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			return key, checkPublic(&key.PublicKey)
		case "PRIVATE KEY":
			return parsePKCS8(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("it is encrypted; only plain keys can be read")
		case "EC PRIVATE KEY":
			return nil, errNotRSA
		}
	}
	return nil, errors.New("it has no private key in PEM")
}

var errNotRSA = errors.New("it is no RSA key, which firmware and systemd want")

func parsePKCS8(der []byte) (*rsa.PrivateKey, error) {
	any, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := any.(*rsa.PrivateKey)
	if !ok {
		return nil, errNotRSA
	}
	return key, checkPublic(&key.PublicKey)
}

// checkPublic looks at a key, which may come as any type.
func checkPublic(public crypto.PublicKey) error {
	key, ok := public.(*rsa.PublicKey)
	if !ok {
		return errNotRSA
	}
	if n := key.N.BitLen(); n < minBits {
		return fmt.Errorf("it is of %d bits; %d are wanted", n, minBits)
	}
	return nil
}

// LoadCertificate reads the first certificate of a file, in PEM or DER.
func LoadCertificate(path string) (*x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("loading the certificate: %w", err)
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			b = block.Bytes
			break
		}
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("loading the certificate %s: %w", path, err)
	}
	return c, nil
}

// Fingerprint is the SHA-256 of a certificate in hexadecimal digits.
func Fingerprint(c *x509.Certificate) string {
	return hex.EncodeToString(digestOf(crypto.SHA256, c.Raw))
}

// Warning tells what is odd about a certificate at a time, though firmware does
// not mind it; "" if nothing is.
func Warning(c *x509.Certificate, now time.Time) string {
	const day = "2006-01-02"
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("the certificate %s has expired on %s", c.Subject, c.NotAfter.UTC().Format(day))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("the certificate %s is not valid before %s", c.Subject, c.NotBefore.UTC().Format(day))
	}
	return ""
}
