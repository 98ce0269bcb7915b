package inspect

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/secureboot"
)

// PCR is the predicted value of register 11 in a bank, when Talos unlocks its
// disks, and whether there is a signature for it.
type PCR struct {
	Bank  string `json:"bank" yaml:"bank"`   // sha256
	Value string `json:"value" yaml:"value"` // hexadecimal
	// Signed says that .pcrsig has a policy with this value, Valid that the key
	// of .pcrpkey signed it.
	Signed bool   `json:"signed" yaml:"signed"`
	Valid  bool   `json:"valid" yaml:"valid"`
	Key    string `json:"key,omitempty" yaml:"key,omitempty"` // fingerprint of the key that is said to have signed
}

// policySignature is an entry of .pcrsig (systemd-measure(1)).
type policySignature struct {
	PCRs        []int  `json:"pcrs"`
	Fingerprint string `json:"pkfp"`
	Policy      string `json:"pol"`
	Signature   string `json:"sig"`
}

// bankName is that in .pcrsig.
func bankName(bank crypto.Hash) string {
	return strings.ToLower(strings.ReplaceAll(bank.String(), "-", ""))
}

// pcr11 predicts the register for a profile that has these sections measured,
// and looks for its signatures.
func (i *inspector) pcr11(p *Profile, digests uki.Digests, sections []uki.Section, signatures map[string][]policySignature, key *rsa.PublicKey) error {
	for _, bank := range uki.Banks {
		value, err := digests.PCR11(sections, secureboot.BootPhases(), bank)
		if err != nil {
			return err
		}
		pcr := PCR{Bank: bankName(bank), Value: hex.EncodeToString(value)}
		policy := secureboot.PCRPolicy(bank, value)
		for _, s := range signatures[pcr.Bank] {
			if s.Policy == hex.EncodeToString(policy) && slices.Equal(s.PCRs, []int{11}) {
				pcr.Signed, pcr.Key = true, s.Fingerprint
				pcr.Valid = pcr.Valid || s.by(key, bank, policy)
			}
		}
		p.PCR11 = append(p.PCR11, pcr)
	}
	i.judge(p, signatures)
	return nil
}

// judge notes banks that have signatures, and none that helps.
func (i *inspector) judge(p *Profile, signatures map[string][]policySignature) {
	var others, invalid []string
	for _, pcr := range p.PCR11 {
		switch {
		case len(signatures[pcr.Bank]) == 0 || pcr.Valid:
		case !pcr.Signed:
			others = append(others, pcr.Bank)
		default:
			invalid = append(invalid, pcr.Bank)
		}
	}
	const effect = "a TPM will not unlock disks"
	if len(others) > 0 {
		i.problem("profile %s: the signatures in .pcrsig are not for the values that PCR 11 will have (%s): %s", p.ID, strings.Join(others, ", "), effect)
	}
	if len(invalid) > 0 {
		i.problem("profile %s: the signatures in .pcrsig are not by the key in .pcrpkey (%s): %s", p.ID, strings.Join(invalid, ", "), effect)
	}
}

func (i *inspector) policySignatures(sections []uki.Section) map[string][]policySignature {
	text := i.text(sections, ".pcrsig")
	if text == "" {
		return nil
	}
	var all map[string][]policySignature
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		i.problem("reading section .pcrsig: %v", err)
	}
	return all
}

// by says whether a key made the signature of a policy. The hash is that of
// the bank.
func (s policySignature) by(key *rsa.PublicKey, bank crypto.Hash, policy []byte) bool {
	signature, err := base64.StdEncoding.DecodeString(s.Signature)
	if err != nil || key == nil {
		return false
	}
	h := bank.New()
	h.Write(policy)
	return rsa.VerifyPKCS1v15(key, bank, h.Sum(nil), signature) == nil
}

// pcrKey reads .pcrpkey; nil without one.
func (i *inspector) pcrKey(p *Program, sections []uki.Section) *rsa.PublicKey {
	text := i.text(sections, ".pcrpkey")
	if text == "" {
		return nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		i.problem("the section .pcrpkey is not a key in PEM")
		return nil
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, ok := public.(*rsa.PublicKey)
	if err != nil || !ok {
		i.problem("the section .pcrpkey is not an RSA key")
		return nil
	}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(key))
	p.PCRKey = hex.EncodeToString(sum[:])
	return key
}
