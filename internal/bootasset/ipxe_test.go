package bootasset

import (
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/profile"
)

func TestIPXE(t *testing.T) {
	const want = "#!ipxe\nimgfree\nkernel k a=b c initrd=i\ninitrd i\nboot\n"
	if got, err := IPXE("k", "i", "a=b c"); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	longest := strings.Repeat("x", profile.MaxCmdline-len("k  initrd=i"))
	if _, err := IPXE("k", "i", longest); err != nil {
		t.Error(err)
	}
	for cmdline, want := range map[string]string{
		longest + "x": "the kernel command line has 2048 bytes, and a kernel keeps 2047",
		"a ${b}":      "which iPXE takes for its own",
		"a || b":      "which iPXE takes for its own",
	} {
		if _, err := IPXE("k", "i", cmdline); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
