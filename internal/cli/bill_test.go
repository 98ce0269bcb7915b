package cli

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/graftlinux/graft/internal/oci"
)

// TestMeant: who names an extension as catalogs do is told so, if docker.io was asked.
func TestMeant(t *testing.T) {
	const host = "index.docker.io"
	hint := func(find, here string) []string {
		return []string{"a name without a registry is one of docker.io: for an extension, graft catalog find " + find + " says what it is called; a directory or file is ./" + here}
	}
	for _, c := range []struct {
		name, host string
		want       []string
	}{
		{"nebula", host, hint("nebula", "nebula")},
		{"nebula:v9", host, hint("nebula", "nebula:v9")},
		{"nebula@sha256:aa", host, hint("nebula", "nebula@sha256:aa")},
		{"me/nebula:v9", host, hint("nebula", "me/nebula:v9")},
		{"docker://nebula", host, hint("nebula", "nebula")},
		{"docker.io/me/nebula:v9", host, nil},
		{"docker://docker.io/me/nebula", host, nil},
		{"index.docker.io/me/nebula", host, nil},
		{"registry.example/nebula:v9", "registry.example", nil},
	} {
		cause := fmt.Errorf("resolving %s: %w", c.name, &oci.RegistryError{Registry: c.host, Err: errors.New("UNAUTHORIZED")})
		err := meant(c.name, cause)
		var hints []string
		var with *coded
		if errors.As(err, &with) {
			hints = with.hints
		}
		if !slices.Equal(hints, c.want) || exitCode(err) != exitDependency || !errors.Is(err, cause) {
			t.Errorf("%s: got %q, exit code %d, want %q", c.name, hints, exitCode(err), c.want)
		}
	}
	if got := meant("nebula", errors.New("damaged")); got.Error() != "damaged" {
		t.Errorf("got %v, want what it was", got)
	}
	several := []string{"nebula:v9", "me/nebula:v9", "gvisor"}
	err := meantOneOf(several, fmt.Errorf("resolving me/nebula:v9: %w", &oci.RegistryError{Registry: host, Err: errors.New("UNAUTHORIZED")}))
	var with *coded
	if !errors.As(err, &with) || !slices.Equal(with.hints, hint("nebula", "me/nebula:v9")) {
		t.Errorf("one of several: got %v", err)
	}
	if meantOneOf(several, nil) != nil {
		t.Error("a hint without an error")
	}
}
