package bootasset

import (
	"fmt"
	"slices"
	"strings"
)

// IPXE is a script for iPXE that boots a kernel and an initramfs from beside
// the script. The kernel's EFI stub finds the initramfs by its name. What iPXE
// would not pass on as it is, is refused: its scripts have no quoting.
func IPXE(kernel, initramfs, cmdline string) ([]byte, error) {
	words := strings.Fields(cmdline)
	if strings.Contains(cmdline, "${") || slices.Contains(words, "||") || slices.Contains(words, "&&") {
		return nil, fmt.Errorf("writing a script for iPXE: the kernel's arguments have ${, || or && (%s), which iPXE takes for its own", cmdline)
	}
	script := fmt.Appendf(nil, "#!ipxe\nimgfree\nkernel %s %s initrd=%s\ninitrd %[3]s\nboot\n", kernel, cmdline, initramfs)
	return script, nil
}
