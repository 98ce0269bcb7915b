package bootasset

import "fmt"

// IPXE is a script for iPXE that boots a kernel and an initramfs from beside
// the script. The kernel's EFI stub finds the initramfs by its name.
func IPXE(kernel, initramfs, cmdline string) []byte {
	return fmt.Appendf(nil, "#!ipxe\nimgfree\nkernel %s %s initrd=%s\ninitrd %[3]s\nboot\n", kernel, cmdline, initramfs)
}
