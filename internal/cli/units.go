package cli

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
)

var units = []struct {
	letter string
	bytes  int64
}{{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}}

// size prints a number of bytes for people.
func size(n int64) string {
	for _, u := range units {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %siB", float64(n)/float64(u.bytes), u.letter)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// parseSize reads "500", "64K", "10M", "2G"; "" is 0.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	factor := int64(1)
	number := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I")
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.letter); ok {
			number, factor = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/factor {
		return 0, fmt.Errorf("%q is not a size such as 500M or 2G", s)
	}
	return n * factor, nil
}

// version is that of the module this program was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
