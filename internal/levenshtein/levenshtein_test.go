package levenshtein

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "abc", 0}, {"abc", "", 3}, {"", "abc", 3}, {"gvisor", "gvisr", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1},
		{"alhpa", "alpha", 1}, {"alpah", "alpha", 1}, {"Nebula", "nebula", 0}, {"NEBUAL", "nebula", 1}, {"ca", "abc", 3}, {"abcd", "badc", 2},
	} {
		if got := Distance(c.a, c.b); got != c.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
