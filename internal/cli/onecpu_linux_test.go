package cli

import (
	"os/exec"
	"strings"
	"testing"
)

// TestOneCPU asks the commands that are started how many CPUs they have.
func TestOneCPU(t *testing.T) {
	nproc := func() string {
		out, err := exec.Command("nproc").Output()
		if err != nil {
			t.Skip(err)
		}
		return strings.TrimSpace(string(out))
	}
	before := nproc()
	release := oneCPU()
	during := nproc()
	release()
	if after := nproc(); during != "1" || after != before {
		t.Errorf("%s CPUs, then %s, then %s; want 1 in between", before, during, after)
	}
}
