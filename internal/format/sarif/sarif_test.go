package sarif_test

import (
	"testing"

	"github.com/graftlinux/graft/internal/format/sarif"
	"github.com/graftlinux/graft/internal/testkit"
)

func TestValid(t *testing.T) {
	testkit.ValidSARIF(t, sarif.New("graft", "", nil, nil))
	log := sarif.New("graft", "v1.0.0",
		[]sarif.Rule{{
			ID: "r", ShortDescription: sarif.Text{Text: "why"}, Help: &sarif.Text{Text: "how"}, HelpURI: "https://example.org/r",
			Default: &sarif.Configuration{Level: sarif.Warning}, Properties: map[string]string{"security-severity": "7.5"},
		}},
		[]sarif.Result{{
			RuleID: "r", Level: sarif.Error, Message: sarif.Text{Text: "found"},
			Locations:    []sarif.Location{sarif.At("a b: c", sarif.Logical{Name: "m", Kind: "module"})},
			Suppressions: []sarif.Suppression{{Kind: "external", Status: "accepted", Justification: "because"}},
		}})
	log.Runs[0].Invocations = []sarif.Invocation{{Notifications: []sarif.Notification{{
		Level: sarif.Warning, Message: sarif.Text{Text: "not seen"}, Locations: []sarif.Location{sarif.At("a b: c")},
	}}}}
	testkit.ValidSARIF(t, log)
}

func TestAt(t *testing.T) {
	for name, want := range map[string]string{
		"a/b.iso": "a/b.iso", "r:5000/x:1": "r%3A5000/x%3A1", "a b#é": "a%20b%23%C3%A9", "a: hello": "a%3A%20hello",
	} {
		if got := sarif.At(name).Physical.Artifact.URI; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
