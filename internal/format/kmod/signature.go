package kmod

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"io"
)

// A signed module ends with the signature, a trailer of 12 bytes and a magic
// string (struct module_signature in include/linux/module_signature.h).
const (
	signatureMagic   = "~Module signature appended~\n"
	signatureTrailer = 12
	signaturePKCS7   = 2

	// maxSignature is the largest signature in bytes that is looked into: RSA
	// 4096 with a certificate has less than 4 KiB, ML-DSA about 8.
	maxSignature = 64 << 10
)

// readSignature notes whether the module is signed, and by whom.
func readSignature(r io.ReaderAt, size int64, info *Info) error {
	end := make([]byte, signatureTrailer+len(signatureMagic))
	at := size - int64(len(end))
	if at < 0 {
		return nil
	}
	if err := readFullAt(r, end, at); err != nil {
		return err
	}
	if string(end[signatureTrailer:]) != signatureMagic {
		return nil
	}
	info.Signed = true
	length := int64(binary.BigEndian.Uint32(end[8:]))
	if end[2] != signaturePKCS7 || length > maxSignature || length > at {
		return nil
	}
	signature := make([]byte, length)
	if err := readFullAt(r, signature, at-length); err != nil {
		return err
	}
	info.Signer = signer(signature)
	return nil
}

// The part of a PKCS #7 message (RFC 5652, section 5) before the signer's name.
type pkcs7 struct {
	Type   asn1.ObjectIdentifier
	Signed struct {
		Version int
		Digests asn1.RawValue
		Content asn1.RawValue
		Signers []struct {
			Version int
			ID      struct {
				Issuer asn1.RawValue
				Serial asn1.RawValue
			}
			Rest []asn1.RawValue `asn1:"optional"`
		} `asn1:"set"`
	} `asn1:"explicit,tag:0"`
}

// signer returns the common name of the issuer in a signature, or "". The
// kernel build signs without certificates, so the message has none.
func signer(signature []byte) string {
	var m pkcs7
	if _, err := asn1.Unmarshal(signature, &m); err != nil || len(m.Signed.Signers) == 0 {
		return ""
	}
	var issuer pkix.RDNSequence
	if _, err := asn1.Unmarshal(m.Signed.Signers[0].ID.Issuer.FullBytes, &issuer); err != nil {
		return ""
	}
	var name pkix.Name
	name.FillFromRDNSequence(&issuer)
	return name.CommonName
}
