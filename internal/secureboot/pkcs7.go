package secureboot

import (
	"bytes"
	"context"
	"crypto"
	_ "crypto/sha256" // hashes of signatures
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidRSA           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

// The structures of RFC 2315. Tagged fields are raw, tag included.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"optional,tag:0"`
	}
	signedData struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      contentInfo
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		CRLs         asn1.RawValue `asn1:"optional,tag:1"`
		Signers      []signerInfo  `asn1:"set"`
	}
	signerInfo struct {
		Version    int
		Name       issuerAndSerial
		Digest     pkix.AlgorithmIdentifier
		Attributes asn1.RawValue `asn1:"optional,tag:0"`
		Algorithm  pkix.AlgorithmIdentifier
		Signature  []byte
		Unsigned   asn1.RawValue `asn1:"optional,tag:1"`
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}
)

// sequence0 is the context tag [0], constructed.
func sequence0(content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: content}
}

func algorithm(oid asn1.ObjectIdentifier) pkix.AlgorithmIdentifier {
	return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.NullRawValue}
}

// signContent makes a SignedData around a content, which is a DER value of the
// type oid, with the attributes that Authenticode asks for.
func signContent(ctx context.Context, key Signer, oid asn1.ObjectIdentifier, content []byte) ([]byte, error) {
	value, err := valueOf(content)
	if err != nil {
		return nil, err
	}
	attributes, err := signedAttributes(oid, digestOf(crypto.SHA256, value))
	if err != nil {
		return nil, err
	}
	sd, err := newSignedData(ctx, key, attributes) // signed as a SET, stored as [0]
	if err != nil {
		return nil, err
	}
	stored := append([]byte(nil), attributes...)
	stored[0] = 0xa0
	sd.Signers[0].Attributes = asn1.RawValue{FullBytes: stored}
	sd.Content = contentInfo{oid, sequence0(content)}
	inner, err := asn1.Marshal(*sd)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(contentInfo{oidSignedData, sequence0(inner)})
}

// signDetached makes a SignedData, without the ContentInfo around it, of data
// that is not in it, as EFI variables have it.
func signDetached(ctx context.Context, key Signer, data []byte) ([]byte, error) {
	sd, err := newSignedData(ctx, key, data)
	if err != nil {
		return nil, err
	}
	sd.Content = contentInfo{Type: oidData}
	return asn1.Marshal(*sd)
}

// newSignedData signs data and tells by whom.
func newSignedData(ctx context.Context, key Signer, data []byte) (*signedData, error) {
	c := key.Certificate()
	if c == nil {
		return nil, errors.New("the signer has no certificate")
	}
	signature, err := key.Sign(ctx, digestOf(crypto.SHA256, data), crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return &signedData{
		Version:      1,
		Digests:      []pkix.AlgorithmIdentifier{algorithm(oidSHA256)},
		Certificates: sequence0(c.Raw),
		Signers: []signerInfo{{
			Version:   1,
			Name:      issuerAndSerial{asn1.RawValue{FullBytes: c.RawIssuer}, c.SerialNumber},
			Digest:    algorithm(oidSHA256),
			Algorithm: algorithm(oidRSA),
			Signature: signature,
		}},
	}, nil
}

// signedAttributes are the two that must be there. A signing time is not.
func signedAttributes(oid asn1.ObjectIdentifier, digest []byte) ([]byte, error) {
	contentType, err := asn1.Marshal(oid)
	if err != nil {
		return nil, err
	}
	messageDigest, err := asn1.Marshal(digest)
	if err != nil {
		return nil, err
	}
	return asn1.MarshalWithParams([]attribute{
		{oidContentType, []asn1.RawValue{{FullBytes: contentType}}},
		{oidMessageDigest, []asn1.RawValue{{FullBytes: messageDigest}}},
	}, "set")
}

// parseSignedData reads a SignedData with one signer, with or without a
// ContentInfo around it.
func parseSignedData(der []byte) (*signedData, error) {
	var outer contentInfo
	if _, err := asn1.Unmarshal(der, &outer); err == nil {
		if !outer.Type.Equal(oidSignedData) {
			return nil, fmt.Errorf("parsing PKCS #7: it is a %v and no SignedData", outer.Type)
		}
		der = outer.Content.Bytes
	}
	sd := &signedData{}
	if _, err := asn1.Unmarshal(der, sd); err != nil {
		return nil, fmt.Errorf("parsing PKCS #7: %w", err)
	}
	if len(sd.Signers) != 1 {
		return nil, fmt.Errorf("parsing PKCS #7: %d have signed; one is wanted", len(sd.Signers))
	}
	return sd, nil
}

// certificates are all that came along. There is no telling what firmware does
// with one that cannot be parsed: it is left out.
func (sd *signedData) certificates() []*x509.Certificate {
	var all []*x509.Certificate
	for rest := sd.Certificates.Bytes; len(rest) > 0; {
		var raw asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &raw); err != nil {
			break
		}
		if c, err := x509.ParseCertificate(raw.FullBytes); err == nil {
			all = append(all, c)
		}
	}
	return all
}

// is says whether a certificate is the one that the signer names.
func (s *signerInfo) is(c *x509.Certificate) bool {
	return s.Name.Serial != nil && c.SerialNumber.Cmp(s.Name.Serial) == 0 && bytes.Equal(c.RawIssuer, s.Name.Issuer.FullBytes)
}

// verify checks the signature of a value with a certificate's key.
func (sd *signedData) verify(c *x509.Certificate, value []byte) error {
	s := sd.Signers[0]
	hash, err := hashOf(s.Digest.Algorithm)
	if err != nil {
		return err
	}
	signed := value
	if len(s.Attributes.FullBytes) > 0 {
		if err := s.checkAttributes(sd.Content.Type, digestOf(hash, value)); err != nil {
			return err
		}
		signed = append([]byte(nil), s.Attributes.FullBytes...)
		signed[0] = 0x31 // SET
	}
	return c.CheckSignature(signatureAlgorithm(c, hash), signed, s.Signature)
}

// checkAttributes looks whether they are about the content.
func (s *signerInfo) checkAttributes(oid asn1.ObjectIdentifier, digest []byte) error {
	found := 0
	for rest := s.Attributes.Bytes; len(rest) > 0; {
		var a attribute
		var err error
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return fmt.Errorf("parsing the attributes: %w", err)
		}
		if !a.Type.Equal(oidContentType) && !a.Type.Equal(oidMessageDigest) {
			continue
		}
		if len(a.Values) != 1 {
			return fmt.Errorf("the attribute %v has %d values", a.Type, len(a.Values))
		}
		if a.Type.Equal(oidContentType) && !equalOID(a.Values[0].FullBytes, oid) {
			return errors.New("the attributes are of another type of content")
		}
		if a.Type.Equal(oidMessageDigest) && !bytes.Equal(a.Values[0].Bytes, digest) {
			return errors.New("the attributes are of another content")
		}
		found++
	}
	if found != 2 {
		return errors.New("the attributes do not tell what they are of")
	}
	return nil
}

func equalOID(der []byte, oid asn1.ObjectIdentifier) bool {
	want, err := asn1.Marshal(oid)
	return err == nil && bytes.Equal(der, want)
}

func hashOf(oid asn1.ObjectIdentifier) (crypto.Hash, error) {
	switch {
	case oid.Equal(oidSHA256):
		return crypto.SHA256, nil
	case oid.Equal(oidSHA384):
		return crypto.SHA384, nil
	case oid.Equal(oidSHA512):
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("the hash %v is not understood; SHA-256, SHA-384 and SHA-512 are", oid)
}

func signatureAlgorithm(c *x509.Certificate, hash crypto.Hash) x509.SignatureAlgorithm {
	algorithms := map[crypto.Hash][2]x509.SignatureAlgorithm{
		crypto.SHA256: {x509.SHA256WithRSA, x509.ECDSAWithSHA256},
		crypto.SHA384: {x509.SHA384WithRSA, x509.ECDSAWithSHA384},
		crypto.SHA512: {x509.SHA512WithRSA, x509.ECDSAWithSHA512},
	}
	switch c.PublicKeyAlgorithm {
	case x509.RSA:
		return algorithms[hash][0]
	case x509.ECDSA:
		return algorithms[hash][1]
	}
	return x509.UnknownSignatureAlgorithm
}

// valueOf is a DER value without its tag and length: what PKCS #7 hashes.
func valueOf(der []byte) ([]byte, error) {
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(der, &raw); err != nil {
		return nil, fmt.Errorf("parsing the signed content: %w", err)
	}
	return raw.Bytes, nil
}

func digestOf(hash crypto.Hash, b []byte) []byte {
	h := hash.New()
	h.Write(b)
	return h.Sum(nil)
}
