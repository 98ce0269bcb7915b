package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// PEM types of private keys that are encrypted as cosign does: with scrypt and
// NaCl's secretbox, in JSON. The first is what it writes since version 2.
const (
	pemSigstore = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemCosign   = "ENCRYPTED COSIGN PRIVATE KEY"
)

// PrivateKey signs.
type PrivateKey struct{ signer crypto.Signer }

// PublicKey verifies what a PrivateKey signed.
type PublicKey struct {
	key         crypto.PublicKey
	fingerprint string
}

// ErrPassword is the error of a private key that another password decrypts.
var ErrPassword = errors.New("the password does not decrypt it")

// GenerateKey makes an ECDSA P-256 key pair, in PEM: the private key encrypted
// with the password, which may be empty, and the public key. They are random.
func GenerateKey(password []byte) (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	box, err := encrypted.Encrypt(der, password)
	if err != nil {
		return nil, nil, fmt.Errorf("encrypting the key: %w", err)
	}
	pub, err := (&PrivateKey{key}).Public()
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemSigstore, Bytes: box}), pub.PEM(), nil
}

// ParsePrivateKey reads a private key in PEM: cosign's, encrypted, or a plain
// one (PKCS #8, SEC 1, PKCS #1) of ECDSA P-256, P-384 or P-521, RSA of 2048 to
// 8192 bits, or Ed25519. Password is asked for an encrypted one only.
func ParsePrivateKey(data []byte, password func() ([]byte, error)) (*PrivateKey, error) {
	block, err := decodePEM(data)
	if err != nil {
		return nil, err
	}
	var key any
	switch block.Type {
	case pemSigstore, pemCosign:
		key, err = decrypt(block.Bytes, password)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("it is encrypted in a way that cosign does not use (PKCS #8): decrypt it first, as with openssl pkey")
	default:
		return nil, fmt.Errorf("a PEM block %q is no private key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("keys of the type %T do not sign", key)
	}
	if err := checkKey(signer.Public()); err != nil {
		return nil, err
	}
	return &PrivateKey{signer}, nil
}

func decodePEM(data []byte) (*pem.Block, error) {
	if err := tooLarge(len(data), maxKey); err != nil {
		return nil, err
	}
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("there is no key in it: wanted is PEM, -----BEGIN ... KEY-----")
		}
		if block.Type != "EC PARAMETERS" { // what openssl writes before the key
			return block, nil
		}
	}
}

// Bounds of the work factor of scrypt: cosign's own is N=65536, r=8, which
// takes 64 MiB. A file may ask for much more.
const maxScryptMemory = 1 << 30

func decrypt(box []byte, password func() ([]byte, error)) (any, error) {
	if err := checkBox(box); err != nil {
		return nil, err
	}
	secret, err := password()
	if err != nil {
		return nil, err
	}
	der, err := encrypted.Decrypt(box, secret)
	if err != nil {
		return nil, ErrPassword
	}
	return x509.ParsePKCS8PrivateKey(der)
}

// checkBox looks at what decrypting would cost, and that it is encrypted in
// the one way there is.
func checkBox(box []byte) error {
	var b struct {
		KDF struct {
			Name   string
			Params struct{ N, R, P int }
		}
		Cipher struct{ Name string }
	}
	if err := json.Unmarshal(box, &b); err != nil {
		return fmt.Errorf("its encryption cannot be read: %w", err)
	}
	p := b.KDF.Params
	if b.KDF.Name != "scrypt" || b.Cipher.Name != "nacl/secretbox" {
		return fmt.Errorf("it is encrypted with %q and %q, not with scrypt and nacl/secretbox", b.KDF.Name, b.Cipher.Name)
	}
	if p.N < 2 || p.R < 1 || p.P < 1 || p.N > maxScryptMemory || p.R > 64 || p.P > 16 || 128*p.N*p.R > maxScryptMemory {
		return fmt.Errorf("decrypting it takes more than graft gives: scrypt with N=%d, r=%d, p=%d", p.N, p.R, p.P)
	}
	return nil
}

// checkKey refuses keys that are too weak, or take forever.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if c := k.Curve; c != elliptic.P256() && c != elliptic.P384() && c != elliptic.P521() {
			return fmt.Errorf("the curve %s is none of P-256, P-384, P-521", c.Params().Name)
		}
		return nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 8192 {
			return fmt.Errorf("it is an RSA key of %d bits: 2048 to 8192 are allowed", n)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("keys of the type %T are not known", key)
}

// Public is the other half of the pair.
func (k *PrivateKey) Public() (*PublicKey, error) { return newPublicKey(k.signer.Public()) }

// ParsePublicKey reads a public key in PEM, or that of a certificate, of the
// kinds that ParsePrivateKey reads. A certificate's names and dates count for
// nothing: it is taken for its key.
func ParsePublicKey(data []byte) (*PublicKey, error) {
	block, err := decodePEM(data)
	if err != nil {
		return nil, err
	}
	switch block.Type {
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		return newPublicKey(key)
	case "RSA PUBLIC KEY":
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		return newPublicKey(key)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return newPublicKey(cert.PublicKey)
	case pemSigstore, pemCosign, "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY":
		return nil, errors.New("it is a private key: to verify takes the public one, such as cosign.pub")
	}
	return nil, fmt.Errorf("a PEM block %q is no public key", block.Type)
}

func newPublicKey(key crypto.PublicKey) (*PublicKey, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &PublicKey{key: key, fingerprint: "sha256:" + hex.EncodeToString(sum[:])}, nil
}

// Fingerprint is "sha256:" and the hex digits of the digest of the key (DER,
// SubjectPublicKeyInfo).
func (k *PublicKey) Fingerprint() string { return k.fingerprint }

// PEM is the key as cosign writes it.
func (k *PublicKey) PEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		panic(err) // newPublicKey did it before
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
