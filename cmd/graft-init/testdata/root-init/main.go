// Command root-init is the init of a root filesystem in tests: it says what
// it finds.
package main

import (
	"fmt"
	"os"
)

func main() {
	top, _ := os.ReadFile("/top")
	dir, _ := os.Getwd()
	fmt.Printf("pid %d\nargs %q\nenv %q\nin %s\ntop %q\n", os.Getpid(), os.Args, os.Environ(), dir, top)
	for _, name := range []string{"/init", "/rootfs.sqsh", "/etc/extensions.yaml", "/dev/null", "/proc/self", "/sys/kernel"} {
		_, err := os.Stat(name)
		fmt.Printf("%s %v\n", name, err == nil)
	}
}
