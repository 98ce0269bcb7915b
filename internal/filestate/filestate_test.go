package filestate

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func look(t *testing.T, name string) State {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return Of(info)
}

// TestChanges changes a file in ways that leave its size and its time of
// modification as they were.
func TestChanges(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	before := look(t, name)
	if again := look(t, name); again.String() != before.String() {
		t.Errorf("nothing changed, the state is %v and then %v", before, again)
	}
	time.Sleep(20 * time.Millisecond) // more than the kernel's clock tick
	write("two")
	if after := look(t, name); after.String() == before.String() {
		t.Errorf("the content changed, the state is %v as before", after)
	}
	before = look(t, name)
	other := filepath.Join(dir, "other")
	if err := os.Rename(name, other); err != nil {
		t.Fatal(err)
	}
	write("two")
	if after := look(t, name); after.String() == before.String() {
		t.Errorf("it is another file, the state is %v as before", after)
	}
}

func TestSettled(t *testing.T) {
	at := time.Unix(1000, 0)
	for _, c := range []struct {
		name string
		s    State
		want bool
	}{
		{"long ago", State{Modified: at.Add(-time.Hour), Changed: at.Add(-time.Hour)}, true},
		{"changed just now", State{Modified: at.Add(-time.Hour), Changed: at.Add(-time.Second)}, false},
		{"modified in the future", State{Modified: at.Add(time.Hour), Changed: at.Add(-time.Hour)}, false},
		{"a system that does not say", State{Modified: at.Add(-time.Hour)}, false},
	} {
		if got := c.s.Settled(at); got != c.want {
			t.Errorf("%s: settled is %v", c.name, got)
		}
	}
}
