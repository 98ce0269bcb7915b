package cli

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
)

var units = []struct {
	letter         string
	bytes, decimal int64 // of KiB and of KB
}{{"T", 1 << 40, 1e12}, {"G", 1 << 30, 1e9}, {"M", 1 << 20, 1e6}, {"K", 1 << 10, 1e3}}

// size prints a number of bytes for people.
func size(n int64) string {
	for _, u := range units {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %siB", float64(n)/float64(u.bytes), u.letter)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// parseSize reads "500", "64K", "10MiB", and "2GB", which is not as much as 2GiB;
// "" is 0.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	number, factor := cutUnit(strings.ToUpper(s))
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/factor {
		return 0, fmt.Errorf("%q is not a size such as 500M or 2G", s)
	}
	return n * factor, nil
}

// cutUnit takes the unit off a size in upper case.
func cutUnit(s string) (number string, factor int64) {
	for _, u := range units {
		for _, name := range []string{u.letter, u.letter + "I", u.letter + "IB"} {
			if number, ok := strings.CutSuffix(s, name); ok {
				return number, u.bytes
			}
		}
		if number, ok := strings.CutSuffix(s, u.letter+"B"); ok {
			return number, u.decimal
		}
	}
	return strings.TrimSuffix(s, "B"), 1
}

// parseDiskSize also refuses a unit that Talos' imager takes for one of powers
// of 1000, and most other programs for one of powers of 1024.
func parseDiskSize(s string) (int64, error) {
	n, err := parseSize(s)
	if err == nil && s != "" && strings.ContainsRune("KMGTkmgt", rune(s[len(s)-1])) {
		err = fmt.Errorf("%[1]q can be %[1]siB or %[1]sB, which is less: say which", s)
	}
	return n, err
}

// version is that of the module this program was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
