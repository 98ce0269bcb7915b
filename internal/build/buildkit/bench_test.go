package buildkit_test

import (
	"fmt"
	"testing"

	"github.com/graftlinux/graft/internal/build/buildkit"
)

// BenchmarkScripts runs scripts that do nothing, one after the other. What it
// tells per script is BuildKit's own cost.
func BenchmarkScripts(b *testing.B) {
	const scripts = 20
	e := connect(b, buildkit.Options{NoCache: true})
	op := shell(b)
	solve(b, e, copyOf(op, "/bin/sh", "/")) // the input is there before the clock starts
	for i := range scripts {
		op = script(op, fmt.Sprint("script ", i), "true")
	}
	root := copyOf(op, "/etc/passwd", "/")
	b.ResetTimer()
	for range b.N {
		solve(b, e, root)
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(scripts*b.N), "ms/script")
}
