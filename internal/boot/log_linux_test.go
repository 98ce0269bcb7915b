package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kmsg")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l := &log{device: file}
	l.debug("mounting proc at /proc")
	l.info("enabling system extension \x1b[31mevil\n<0>x 1")
	l.fatal(fmt.Errorf("verifying: %w", advise(errors.New("it differs"), "make it again")))
	l.fatal(errors.New("no idea"))
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := `<7>graft-init: mounting proc at /proc
<6>graft-init: enabling system extension ?[31mevil?<0>x 1
<2>graft-init: cannot boot: verifying: it differs
<2>graft-init: what to do: make it again
<2>graft-init: cannot boot: no idea
`
	if string(data) != want {
		t.Errorf("got:\n%s\nwant:\n%s", data, want)
	}
}

// TestLogElsewhere has no kernel log, as before /dev is mounted.
func TestLogElsewhere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = w
	l := &log{device: filepath.Join(t.TempDir(), "no-kmsg")}
	l.info("lost")
	l.fatal(errors.New("nothing works"))
	os.Stderr = stderr
	buf := make([]byte, 1024)
	n, err := r.Read(buf)
	if want := "graft-init: cannot boot: nothing works\n"; err != nil || string(buf[:n]) != want {
		t.Errorf("got %q, %v, want %q", buf[:n], err, want)
	}
}

func TestPrintable(t *testing.T) {
	long := printable(strings.Repeat("ä", 1000))
	if len(long) > maxRecord+len("...") || !strings.HasSuffix(long, "ä...") {
		t.Errorf("a long line has %d bytes and ends in %q", len(long), long[len(long)-8:])
	}
	if got := printable("a\tb\xff\u202e"); got != "a?b\ufffd?" {
		t.Errorf("got %q", got)
	}
}
