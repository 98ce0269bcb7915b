package vuln

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	modsemver "golang.org/x/mod/semver"

	"github.com/graftlinux/graft/internal/testkit"
)

// ascending are versions, each older than those after it.
var ascendingDebian = []string{
	"0~~", "0~~a", "0~", "0", "0a", "0+", "1a", "1.0~beta1~svn1245", "1.0~beta1", "1.0~rc1-1", "1.0", "1.0-0.1", "1.0-1", "1.0-1+b1", "1.0-1+deb12u1", "1.0-1.1", "1.0-2~", "1.0-2", "1.0-10",
	"1.0a", "1.0+git1", "1.0.1", "1.00.2", "1.2", "1.10", "9", "10", "1:0", "1:0.4", "2:0",
}

func TestCompareDebian(t *testing.T) {
	for i, a := range ascendingDebian {
		for j, b := range ascendingDebian {
			if got := sign(debian.compare(a, b)); got != sign(i-j) {
				t.Errorf("%s and %s: got %d, want %d", a, b, got, sign(i-j))
			}
		}
	}
	for _, pair := range [][2]string{{"1.0", "1.00"}, {"0:1", "1"}, {"1-0", "1"}, {"1.0-1", "1.0-01"}} {
		if got := debian.compare(pair[0], pair[1]); got != 0 {
			t.Errorf("%s and %s: got %d, want 0", pair[0], pair[1], got)
		}
	}
}

// dpkg says which of two versions is the newer.
func dpkg(t testing.TB, a, b string) (order int, ok bool) {
	for op, order := range map[string]int{"lt": -1, "eq": 0, "gt": 1} {
		out, err := exec.Command(testkit.Judge(t, "dpkg"), "--compare-versions", a, op, b).CombinedOutput()
		if len(out) > 0 { // a warning: it is no version by its rules
			return 0, false
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if err == nil {
			return order, true
		}
	}
	return 0, false
}

// TestDpkg compares as dpkg does.
func TestDpkg(t *testing.T) {
	const pieces = 4
	words := []string{"0", "1", "2", "10", "01", "a", "b", "Z", "~", "+", ".", "-", "~rc1", "+b1", "deb12u1", "1:", "0:"}
	random := rand.New(rand.NewPCG(1, 2))
	version := func() string {
		v := fmt.Sprint(random.IntN(3))
		for range random.IntN(pieces) {
			v += words[random.IntN(len(words))]
		}
		return v
	}
	judged := 0
	for range 150 {
		a, b := version(), version()
		if want, ok := dpkg(t, a, b); ok {
			judged++
			if got := sign(debian.compare(a, b)); got != want || !validDebian(a) || !validDebian(b) {
				t.Errorf("%s and %s: got %d (valid: %v, %v), want %d", a, b, got, validDebian(a), validDebian(b), want)
			}
		}
	}
	if judged < 20 {
		t.Errorf("only %d pairs were versions", judged)
	}
}

func FuzzCompareDebian(f *testing.F) {
	for i, v := range ascendingDebian {
		f.Add(v, ascendingDebian[len(ascendingDebian)-1-i])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if !validDebian(a) || !validDebian(b) {
			return
		}
		got := sign(compareDebian(a, b))
		if back := sign(compareDebian(b, a)); got != -back {
			t.Errorf("%q and %q: %d, and %d the other way", a, b, got, back)
		}
		if want, ok := dpkg(t, a, b); ok && got != want {
			t.Errorf("%q and %q: got %d, want %d", a, b, got, want)
		}
	})
}

func TestCompareSemver(t *testing.T) {
	ascending := []string{
		"0.0.0-0", "0.0.0-20200101000000-abcdefabcdef", "0.0.0-20210101000000-0123456789ab", "0.0.1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta", "1.0.0-rc.1", "v1.0.0", "1.20", "1.21rc2", "1.21.0",
		"1.21.1", "6.18-rc1", "6.18", "6.18.1",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			if got := sign(goModules.compare(a, b)); got != sign(i-j) {
				t.Errorf("%s and %s: got %d, want %d", a, b, got, sign(i-j))
			}
		}
	}
	for _, v := range []string{"", "v", "devel", "1.2.3.4", "1.x", "(devel)", "a.b.c"} {
		if validSemver(v) {
			t.Errorf("%q is taken for a version", v)
		}
	}
}

// FuzzCompareSemver compares as Go does.
func FuzzCompareSemver(f *testing.F) {
	f.Add("1.2.3", "1.2.3-rc.1")
	f.Add("0.0.0-20200101000000-abcdefabcdef", "1.0.0+incompatible")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !modsemver.IsValid("v"+a) || !modsemver.IsValid("v"+b) || len(a)+len(b) > 100 {
			return
		}
		if toolchainVersion.MatchString(a) || toolchainVersion.MatchString(b) || hasLong(a) || hasLong(b) {
			return
		}
		if !validSemver(a) || !validSemver(b) {
			t.Fatalf("%q or %q is taken for no version", a, b)
		}
		if got, want := sign(compareSemver(a, b)), modsemver.Compare("v"+a, "v"+b); got != want {
			t.Errorf("%q and %q: got %d, want %d", a, b, got, want)
		}
	})
}

// hasLong says whether a number does not fit into 64 bits.
func hasLong(v string) bool {
	for _, word := range strings.FieldsFunc(v, func(r rune) bool { return r < '0' || r > '9' }) {
		if len(word) > 18 {
			return true
		}
	}
	return false
}
