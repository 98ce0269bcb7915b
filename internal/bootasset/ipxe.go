package bootasset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/profile"
)

// IPXE is a script for iPXE that boots a kernel and an initramfs from beside
// the script. The kernel's EFI stub finds the initramfs by its name. What iPXE
// would not pass on as it is, is refused: its scripts have no quoting.
func IPXE(kernel, initramfs, cmdline string) ([]byte, error) {
	words := strings.Fields(cmdline)
	if strings.Contains(cmdline, "${") || slices.Contains(words, "||") || slices.Contains(words, "&&") {
		return nil, fmt.Errorf("writing a script for iPXE: the kernel's arguments have ${, || or && (%s), which iPXE takes for its own", cmdline)
	}
	line := kernel + " " + cmdline + " initrd=" + initramfs
	if len(line) > profile.MaxCmdline {
		return nil, fmt.Errorf("writing a script for iPXE: with the names of kernel and initramfs the kernel command line has %d bytes, and a kernel keeps %d", len(line), profile.MaxCmdline)
	}
	return fmt.Appendf(nil, "#!ipxe\nimgfree\nkernel %s\ninitrd %s\nboot\n", line, initramfs), nil
}
