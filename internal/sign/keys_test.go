package sign

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

func TestGenerateKey(t *testing.T) {
	private, public, err := GenerateKey([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	key := must[*PrivateKey](t)(ParsePrivateKey(private, func() ([]byte, error) { return []byte("secret"), nil }))
	if got := publicOf(t, key).PEM(); !bytes.Equal(got, public) {
		t.Errorf("the public key is %s, want %s", got, public)
	}
	if _, err := ParsePrivateKey(private, func() ([]byte, error) { return []byte("Secret"), nil }); !errors.Is(err, ErrPassword) {
		t.Errorf("with another password: %v", err)
	}
	old := bytes.ReplaceAll(private, []byte("SIGSTORE"), []byte("COSIGN"))
	must[*PrivateKey](t)(ParsePrivateKey(old, func() ([]byte, error) { return []byte("secret"), nil }))
}

func TestKeyErrors(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err) // a toolchain that makes none
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224DER, err := x509.MarshalECPrivateKey(p224)
	block := func(kind, text string) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(text)}) }
	scrypt := func(n string) []byte {
		return block(pemSigstore, `{"kdf":{"name":"scrypt","params":{"N":`+n+`,"r":8,"p":1},"salt":""},"cipher":{"name":"nacl/secretbox","nonce":""},"ciphertext":""}`)
	}
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"empty":              {nil, "there is no key in it"},
		"garbage":            {[]byte("garbage"), "there is no key in it"},
		"too long":           {make([]byte, maxKey+1), "are allowed"},
		"a certificate":      {block("CERTIFICATE", "x"), `a PEM block "CERTIFICATE" is no private key`},
		"PKCS #8, encrypted": {block("ENCRYPTED PRIVATE KEY", "x"), "in a way that cosign does not use"},
		"not DER":            {block("PRIVATE KEY", "x"), "asn1"},
		"not JSON":           {block(pemSigstore, "x"), "its encryption cannot be read"},
		"greedy":             {scrypt("1073741824"), "takes more than graft gives"},
		"overflowing":        {scrypt("4611686018427387904"), "takes more than graft gives"},
		"no work":            {scrypt("0"), "takes more than graft gives"},
		"another KDF":        {block(pemSigstore, `{"kdf":{"name":"x"},"cipher":{"name":"y"}}`), `encrypted with "x" and "y"`},
		"small RSA":          {pemKey(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small), nil), "RSA key of 1024 bits"},
		"another curve":      {pemKey(t, "EC PRIVATE KEY", p224DER, err), "the curve P-224"},
	} {
		_, err := ParsePrivateKey(c.data, func() ([]byte, error) { return nil, nil })
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"garbage":       {[]byte("x"), "there is no key in it"},
		"private":       {block(pemSigstore, "x"), "it is a private key"},
		"not DER":       {block("PUBLIC KEY", "x"), "asn1"},
		"a certificate": {block("CERTIFICATE", "x"), "x509"},
		"something":     {block("X", "x"), `a PEM block "X" is no public key`},
	} {
		if _, err := ParsePublicKey(c.data); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("public, %s: got %v, want %q", name, err, c.says)
		}
	}
}

func TestMatch(t *testing.T) {
	both := must[Match](t)(NewMatch("a@b", "^a"))
	for _, c := range []struct {
		m    Match
		s    string
		want bool
	}{
		{Match{}, "", false}, {Match{}, "x", false}, {Match{Exact: "x"}, "x", true}, {Match{Exact: "x"}, "xx", false},
		{must[Match](t)(NewMatch("", "@b$")), "a@b", true}, {must[Match](t)(NewMatch("", "@b$")), "a@bc", false},
		{must[Match](t)(NewMatch("", ".*")), "", false}, {both, "a@b", true}, {both, "a@c", false},
	} {
		if got := c.m.matches(c.s); got != c.want {
			t.Errorf("%s matches %q: %v", c.m, c.s, got)
		}
	}
	if _, err := NewMatch("", "("); err == nil {
		t.Error("a bad expression is taken")
	}
}

func TestPredicateType(t *testing.T) {
	for s, want := range map[string]string{
		"slsaprovenance1": PredicateSLSA1, "https://example.com/x": "https://example.com/x", "urn:x:y": "urn:x:y", "x": "", "": "", "a b": "", "/x": "",
	} {
		if got, err := ParsePredicateType(s); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	s := must[*Signer](t)(WithKey(testKey(t), Services{}))
	for _, predicate := range []string{"", "null", "[]", "1", "{} {}", `{"a":`} {
		if _, err := s.Attest(t.Context(), img, PredicateSPDX, []byte(predicate)); err == nil {
			t.Errorf("the predicate %q is taken", predicate)
		}
	}
	for _, digest := range []string{"", "sha256:", "sha512:" + someDigest[7:], someDigest + "a", strings.ToUpper(someDigest), "sha256:" + strings.Repeat("A", 64)} {
		if _, err := s.Sign(t.Context(), Image{Digest: digest}, nil); err == nil {
			t.Errorf("the digest %q is signed", digest)
		}
	}
}
