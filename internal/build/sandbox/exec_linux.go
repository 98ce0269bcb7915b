package sandbox

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// explainExec says why the kernel does not start a file that is there and may be
// started.
func explainExec(program string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		if interpreter := interpreterOf(program); interpreter != "" {
			return fmt.Errorf("running %s: its interpreter %s is not in the root: %w", program, interpreter, err)
		}
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("running %s: it is no program for %s, and no script with #! in its first line: %w", program, runtime.GOARCH, err)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("running %s: its arguments and environment are too long for the kernel (128 KiB each): %w", program, err)
	}
	return fmt.Errorf("running %s: %w", program, err)
}

// interpreterOf is what the kernel starts to run a file: the dynamic loader of a
// program, what the first line of a script says; "" if it is neither.
func interpreterOf(program string) string {
	f, err := os.Open(program)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n') // the kernel reads 256 bytes, too
	if words, ok := strings.CutPrefix(line, "#!"); ok {
		name, _, _ := strings.Cut(strings.TrimSpace(words), " ")
		return name
	}
	return loaderOf(f)
}

func loaderOf(f io.ReaderAt) string {
	program, err := elf.NewFile(f)
	if err != nil {
		return ""
	}
	for _, p := range program.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, _ := io.ReadAll(io.LimitReader(p.Open(), unix.PathMax))
		return strings.TrimRight(string(name), "\x00")
	}
	return ""
}
