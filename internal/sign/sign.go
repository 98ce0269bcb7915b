// Package sign makes and verifies signatures of container images, as cosign
// does. It works on bytes and digests: where an image is, and where its
// signatures are kept, is for others to know (see package trust). It speaks to
// the services that vouch for a signature, if there are any: Fulcio, which
// certifies who signs; Rekor, the log of what was signed; a timestamp authority.
//
// What is signed is the digest of a manifest or an index. There are two forms:
//
//   - legacy: a layer of the image that cosign's tag sha256-<hex>.sig names. It
//     holds a payload (containers' "simple signing"); the signature and what
//     vouches for it are the layer's annotations. Attestations are DSSE
//     envelopes at .att.
//   - bundle: an artifact that refers to the image (OCI 1.1), with a Sigstore
//     bundle: an in-toto statement in a DSSE envelope, and all that vouches for
//     it. A signature is an attestation whose predicate says nothing.
//
// Both are read and written so that cosign of version 2 and 3 understands them.
// Signatures with ECDSA are random: two of the same content differ.
//
// Who may have signed is a Rule: a key, or an identity and who vouched for it.
// A Verifier takes what is not trusted, and fails closed: each refusal is a
// *Refusal, which names what was wanted and what was found.
package sign

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Media types of a Signature's Data.
const (
	PayloadType  = "application/vnd.dev.cosign.simplesigning.v1+json" // the payload of a legacy signature
	EnvelopeType = "application/vnd.dsse.envelope.v1+json"            // a legacy attestation
	BundleType   = "application/vnd.dev.sigstore.bundle.v0.3+json"    // both, in a bundle
)

// bundleTypes are what all versions of the bundle begin with.
const bundleTypes = "application/vnd.dev.sigstore.bundle"

// IsBundle says whether a media type is that of a Sigstore bundle, of any
// version.
func IsBundle(mediaType string) bool { return strings.HasPrefix(mediaType, bundleTypes) }

// Signature is a signature or an attestation as it is stored: a blob, and the
// annotations of its descriptor.
type Signature struct {
	MediaType   string
	Data        []byte
	Annotations map[string]string
}

// Image is what is signed.
type Image struct {
	Repository string // registry and repository, for people; it need not be true
	Digest     string // of the manifest or index: "sha256:" and hex digits
}

// Limits of what is read. A provenance or an SBOM is a few MB at most.
const (
	maxData       = 32 << 20 // of a bundle, an envelope, a payload
	maxAnnotation = 1 << 20  // of what vouches for a legacy signature
	maxKey        = 64 << 10 // of a file with a key
	maxRoot       = 8 << 20  // of a trusted root
)

func tooLarge(size, limit int) error {
	if size <= limit {
		return nil
	}
	return fmt.Errorf("it has %d bytes, %d are allowed", size, limit)
}

// parseDigest returns the bytes of a sha256 digest.
func parseDigest(s string) ([]byte, error) {
	digits, ok := strings.CutPrefix(s, "sha256:")
	if !ok {
		return nil, fmt.Errorf("the digest %q is not sha256", s)
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 32 || digits != strings.ToLower(digits) {
		return nil, fmt.Errorf("the digest %q is not sha256: and 64 hex digits", s)
	}
	return raw, nil
}

// unmarshal reads exactly one JSON value.
func unmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more follows the JSON value")
	}
	return nil
}
