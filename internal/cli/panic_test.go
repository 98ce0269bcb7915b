package cli

import (
	"bytes"
	"testing"
)

// TestPanicWatch cuts the console in the middle of the words.
func TestPanicWatch(t *testing.T) {
	const console = "[ 1.0] Kernel panic - not syncing: no init\r\n"
	for cut := range len(console) {
		var out bytes.Buffer
		panics := 0
		w := &panicWatch{w: &out, panicked: func() { panics++ }}
		for _, part := range []string{console[:cut], console[cut:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if !w.seen || panics != 1 || out.String() != console {
			t.Errorf("cut at %d: seen is %v, told of %d panics, passed on %q", cut, w.seen, panics, out.String())
		}
	}
	w := &panicWatch{w: &bytes.Buffer{}}
	if _, err := w.Write([]byte("panic=-1 on the command line")); err != nil || w.seen {
		t.Errorf("a command line was taken for a panic: %v", err)
	}
}
