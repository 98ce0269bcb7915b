// Package secureboot signs EFI programs for Secure Boot and PCR 11 policies for
// a TPM, tells who signed a program, and writes the databases by which firmware
// comes to trust a key.
//
// A [Signer] is an RSA key: a file ([LoadKey], [LoadPCRKey]) or a service
// behind a Unix socket ([Dial], with the protocol of signer.proto). [Sign] adds
// an Authenticode signature to a program that is described by a sparse.Image:
// its bytes are read once, to be hashed, and copied never. [Signatures] reads
// signatures back. [PCRSignatures] is the content of the section .pcrsig.
// [Enrolment] is what the variables PK, KEK and db shall hold, as signed
// updates (EFI_VARIABLE_AUTHENTICATION_2), and [GenerateKeys] makes a key with
// all that belongs to it.
//
// The same key, certificate and time give the same bytes: signatures are RSA
// PKCS #1 v1.5, which is deterministic, and hold no signing time.
//
// The library that is common for this, foxboron/go-uefi, is not used: its
// signatures either bear the time or lack the attributes that Authenticode asks
// for, it patches files and not images of extents, and what is left of it is a
// few ASN.1 structures.
//
// Times of validity are not looked at, as firmware does not know them for sure;
// [Warning] tells of them. Not done: timestamps, SignedData with several
// signers, RSA-PSS, dbx updates other than reading them.
//
// Sources: Windows Authenticode PE signature format, RFC 2315, the UEFI
// specification, chapter "Secure Boot and Driver Signing", TPM 2.0 library,
// part 3, TPM2_PolicyPCR, systemd-measure(1).
package secureboot
