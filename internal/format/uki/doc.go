// Package uki builds unified kernel images, reads them, and predicts what
// systemd-stub measures of them.
//
// A unified kernel image is an EFI program, systemd-stub, to which the kernel,
// the initramfs, the command line and so on were added as sections of its PE
// file. [Build] adds them and [Read] finds them; both work on images of any
// size without holding them in memory. A [Section] of the name .profile begins
// a profile: what follows it overrides, for that profile, the sections before
// the first one. [Profiles] does this as systemd-stub(7) tells it. Stubs older
// than version 257 know no profiles: 252 boots with the last .cmdline of all.
//
// [Digest] and [Digests.PCR11] compute the value of the TPM's register 11 at a
// phase of the boot, for each profile. A content is read and hashed once,
// however many profiles have it. Which sections count, and in which order, is as
// in systemd 257; older stubs measure fewer (252 neither .uname nor .sbat), and
// for these the others must be left out of what is given.
//
// PE is understood as far as EFI programs for x86-64 and arm64 need it (PE32+):
// the headers, the section table and the table of certificates. What to hash
// and to patch for an Authenticode signature is told by [Image.Signed] and
// [Image.WithCertificate]; keys are the matter of others.
//
// Built images are canonical: sections in the order given, in file and in
// memory, none of them with a gap before it; the certificates and the COFF
// symbols of the stub are left out; all other of its header fields stay, and no
// time or random number gets in. The checksum is zero. Firmware does not look
// at it, Authenticode leaves it out, and computing it would read the whole
// image before a byte of it is written.
//
// Sources: Microsoft's PE format and Windows Authenticode PE signature format,
// systemd-stub(7), systemd-measure(1), the UAPI group's UKI specification.
package uki
