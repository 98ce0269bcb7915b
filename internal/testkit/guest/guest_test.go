package guest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/qemu"
)

func TestConsole(t *testing.T) {
	c := newConsole()
	for _, part := range []string{"", "one\r", "\ntwo\n\nth", "ree"} {
		if n, err := c.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write(%q): got %d, %v", part, n, err)
		}
	}
	lines, more := c.from(0)
	if diff := cmp.Diff([]string{"one", "two", ""}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	c.Write([]byte(" lines\n"))
	select {
	case <-more:
	default:
		t.Error("no word of the fourth line")
	}
	if lines, _ := c.from(3); len(lines) != 1 || lines[0] != "three lines" {
		t.Errorf("after the third line: got %q", lines)
	}
}

func TestMachine(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho $*\nsleep 0.1\necho done\n"
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))

	m := Boot(t, qemu.Config{Arch: "amd64", Accel: qemu.KVM, Forwards: []qemu.Forward{{Guest: 50000}}})
	m.WaitFor("-accel tcg")
	m.WaitFor("hostfwd=tcp:" + m.Address(50000) + "-:50000")
	m.WaitEnd()
	if got := m.WaitFor("don"); got != "done" {
		t.Errorf("got line %q, want the last one", got)
	}
}
