package squashfs

import "testing"

// notUnderRace leaves out, with -short, what compares with judges for long: the
// race detector makes it ten times as slow and finds nothing new in it.
func notUnderRace(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long with the race detector; the full run does it")
	}
}
