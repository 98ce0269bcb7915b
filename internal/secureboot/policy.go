package secureboot

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"github.com/graftlinux/graft/internal/format/uki"
)

// pcrSignature is an entry of the JSON that systemd looks for.
type pcrSignature struct {
	PCRs        []int  `json:"pcrs"`
	Fingerprint string `json:"pkfp"` // SHA-256 of the key as RSAPublicKey (PKCS #1) in DER
	Policy      string `json:"pol"`
	Signature   string `json:"sig"` // of the policy, with the hash of the bank
}

// pcrSignatures are the policies of all banks, in the order of the file.
type pcrSignatures struct {
	SHA256 []pcrSignature `json:"sha256,omitempty"`
	SHA384 []pcrSignature `json:"sha384,omitempty"`
	SHA512 []pcrSignature `json:"sha512,omitempty"`
}

func (p *pcrSignatures) of(bank crypto.Hash) *[]pcrSignature {
	switch bank {
	case crypto.SHA256:
		return &p.SHA256
	case crypto.SHA384:
		return &p.SHA384
	}
	return &p.SHA512
}

// kernelPCR is the register into which systemd-stub measures.
const kernelPCR = 11

// BootPhases are what Talos has told the TPM, by extending register 11, when it
// unlocks its disks (Talos, internal/pkg/secureboot): a policy is for the value
// after them.
func BootPhases() []string { return []string{"enter-initrd", "leave-initrd", "enter-machined"} }

// tpmAlgorithms are the numbers of hashes (TPM_ALG_ID).
var tpmAlgorithms = map[crypto.Hash]uint16{crypto.SHA256: 0x000b, crypto.SHA384: 0x000c, crypto.SHA512: 0x000d}

// PCRSignatures signs the policies that a TPM's register 11 has some values, in
// the form of the section .pcrsig. There may be several values for a bank, one
// for each phase of the boot that is to be let in.
func PCRSignatures(ctx context.Context, key Signer, values map[crypto.Hash][][]byte) ([]byte, error) {
	var all pcrSignatures
	for _, bank := range uki.Banks {
		list := all.of(bank)
		for _, value := range values[bank] {
			s, err := signPCR(ctx, key, bank, value)
			if err != nil {
				return nil, fmt.Errorf("signing the %v policy of PCR %d: %w", bank, kernelPCR, err)
			}
			*list = append(*list, s)
		}
	}
	return json.Marshal(all)
}

func signPCR(ctx context.Context, key Signer, bank crypto.Hash, value []byte) (pcrSignature, error) {
	if len(value) != bank.Size() {
		return pcrSignature{}, fmt.Errorf("its value has %d bytes and not %d", len(value), bank.Size())
	}
	policy := PCRPolicy(bank, value)
	signature, err := key.Sign(ctx, digestOf(bank, policy), bank)
	if err != nil {
		return pcrSignature{}, err
	}
	return pcrSignature{
		PCRs:        []int{kernelPCR},
		Fingerprint: hex.EncodeToString(digestOf(crypto.SHA256, x509.MarshalPKCS1PublicKey(key.PublicKey()))),
		Policy:      hex.EncodeToString(policy),
		Signature:   base64.StdEncoding.EncodeToString(signature),
	}, nil
}

// PCRPolicy is the digest of a policy session of a TPM that has seen one
// TPM2_PolicyPCR, for a value of register 11 in a bank (TPM 2.0 library, part 3). The session's hash is SHA-256, whatever the bank.
func PCRPolicy(bank crypto.Hash, value []byte) []byte {
	const policyPCR = 0x0000017f // TPM_CC_PolicyPCR
	b := make([]byte, sha256.Size)
	b = binary.BigEndian.AppendUint32(b, policyPCR)
	b = binary.BigEndian.AppendUint32(b, 1) // one selection follows
	b = binary.BigEndian.AppendUint16(b, tpmAlgorithms[bank])
	b = append(b, 3, 0, 1<<(kernelPCR-8), 0) // 24 registers, one bit each
	b = append(b, digestOf(crypto.SHA256, value)...)
	return digestOf(crypto.SHA256, b)
}

// PublicKeyPEM is the content of the section .pcrpkey.
func PublicKeyPEM(key *rsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
