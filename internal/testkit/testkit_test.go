package testkit

import (
	"path/filepath"
	"testing"
)

// recorder is a testing.TB that remembers how the test ended.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper()               {}
func (r *recorder) Skip(...any)           { r.end("skipped") }
func (r *recorder) Fatalf(string, ...any) { r.end("failed") }

// end keeps the first of several: a real test would not have come further.
func (r *recorder) end(how string) {
	if r.ended == "" {
		r.ended = how
	}
}

func TestJudge(t *testing.T) {
	tests := []struct{ name, program, ci, ended string }{
		{"present", "sh", "", ""},
		{"present in CI", "sh", "true", ""},
		{"absent", "no-such-judge", "", "skipped"},
		{"absent in CI", "no-such-judge", "true", "failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CI", tt.ci)
			r := &recorder{TB: t}
			path := Judge(r, tt.program)
			if r.ended != tt.ended {
				t.Errorf("the test was %q, want %q", r.ended, tt.ended)
			}
			if found := filepath.IsAbs(path); found != (tt.ended == "") {
				t.Errorf("got path %q", path)
			}
		})
	}
}
