package resource

import (
	"errors"
	"testing"

	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/google/go-cmp/cmp"
)

// definitions are some of Talos' types, and one without automatic aliases.
func definitions(t testing.TB) []Definition {
	t.Helper()
	var defs []Definition
	for _, d := range []Definition{
		{Type: "ExtensionStatuses.runtime.talos.dev", Aliases: []string{"extensions"}},
		{Type: "Services.v1alpha1.talos.dev", Aliases: []string{"svc"}},
		{Type: "MachineConfigs.config.talos.dev", Aliases: []string{"mc"}},
		{Type: "MachineStatuses.runtime.talos.dev", Aliases: []string{"machinestatuses"}},
		{Type: "Endpoints.kubernetes.talos.dev"},
		{Type: "Endpoints.cluster.talos.dev"},
		{Type: "ResourceDefinitions.meta.cosi.dev", Aliases: []string{"api-resources"}},
		{Type: "Hiddens.graft.dev", SkipAutomaticAliases: true},
	} {
		rd, err := meta.NewResourceDefinition(d)
		if err != nil {
			t.Fatal(err)
		}
		defs = append(defs, *rd.TypedSpec())
	}
	return defs
}

func TestResolve(t *testing.T) {
	defs := definitions(t)
	for name, want := range map[string]string{
		"extensions":                          "ExtensionStatuses.runtime.talos.dev",
		"extensionstatuses":                   "ExtensionStatuses.runtime.talos.dev",
		"ExtensionStatus":                     "ExtensionStatuses.runtime.talos.dev",
		"extensionstatuses.runtime.talos.dev": "ExtensionStatuses.runtime.talos.dev",
		"ES":                                  "ExtensionStatuses.runtime.talos.dev",
		"svc":                                 "Services.v1alpha1.talos.dev",
		"rd":                                  "ResourceDefinitions.meta.cosi.dev",
		"endpoints.cluster":                   "Endpoints.cluster.talos.dev",
		"Hidden":                              "Hiddens.graft.dev", // talosctl does not know the name in its own tables
	} {
		got, err := Resolve(defs, name)
		if err != nil || got.Type != want {
			t.Errorf("%s: got %s, %v, want %s", name, got.Type, err, want)
		}
	}
}

func TestResolveAmbiguous(t *testing.T) {
	_, err := Resolve(definitions(t), "endpoint")
	var ambiguous *AmbiguousTypeError
	if !errors.As(err, &ambiguous) {
		t.Fatalf("got %v, want an AmbiguousTypeError", err)
	}
	if want := `resource type "endpoint" is ambiguous: it may be endpoints.cluster.talos.dev or endpoints.kubernetes.talos.dev`; err.Error() != want {
		t.Errorf("got %s, want %s", err, want)
	}
}

func TestResolveUnknown(t *testing.T) {
	defs := definitions(t)
	for name, want := range map[string][]string{
		"extensins":         {"extensions"},
		"extention":         {"extensions"},
		"Servces":           {"services"},
		"machinestat":       {"machinestatuses"},
		"machine":           {"machineconfigs", "machinestatuses"},
		"wholly different":  nil,
		"":                  nil,
		"machineconfigz":    {"machineconfigs"},
		"resourcedefintion": {"resourcedefinition"},
	} {
		_, err := Resolve(defs, name)
		var unknown *UnknownTypeError
		if !errors.As(err, &unknown) {
			t.Errorf("%s: got %v, want an UnknownTypeError", name, err)
			continue
		}
		if diff := cmp.Diff(want, unknown.Nearest); diff != "" {
			t.Errorf("%s: suggestions (-want +got):\n%s", name, diff)
		}
	}
}

func TestDiffer(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"abc", "abcdef", 1}, {"ab", "abcdef", 4}, {"flaw", "lawn", 2}} {
		if got := differ(tt.a, tt.b); got != tt.want {
			t.Errorf("%q and %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
