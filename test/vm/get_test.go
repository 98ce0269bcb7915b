package vm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/graftlinux/graft/internal/cli"
	"github.com/graftlinux/graft/internal/testkit/guest"
)

// graft runs a command line as a user would, and returns what it answers.
func graft(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return graftWith(t, "", args...)
}

// graftWith is graft with something on standard input.
func graftWith(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	var out, conversation bytes.Buffer
	if code := cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(input), Out: &out, Err: &conversation}); code != 0 {
		return out.String(), fmt.Errorf("graft %s: exit code %d\n%s", strings.Join(args, " "), code, conversation.String())
	}
	return out.String(), nil
}

// node is a machine that boots or runs.
type node interface {
	WaitFor(text string) string
	Address(guestPort int) string
}

// get asks the node for its extensions once it serves. That the daemon listens
// does not mean that the network is up, so it asks again for a while.
func get(t *testing.T, m node, format string, id ...string) string {
	t.Helper()
	m.WaitFor("graftd: ready")
	args := append([]string{"get", "extensions"}, id...)
	args = append(args, "--insecure", "--timeout", "2s", "-n", m.Address(api), "-o", format)
	deadline := time.Now().Add(time.Minute)
	for {
		out, err := graft(t, args...)
		if err == nil {
			return out
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// checkGet compares what the node tells about the layers, in all three forms.
func checkGet(t *testing.T, m *guest.Machine, release string) {
	t.Helper()
	// The rows are as wide as the release of the kernel makes the last column.
	want := `NODE        NAMESPACE   TYPE              ID                 VERSION   NAME          VERSION
127.0.0.1   runtime     ExtensionStatus   000.first-1.0.0    1         first         1.0.0
127.0.0.1   runtime     ExtensionStatus   001.second-2.0.0   1         second        2.0.0
127.0.0.1   runtime     ExtensionStatus   modules.dep        1         modules.dep   ` + release + "\n"
	if diff := cmp.Diff(want, get(t, m, "table")); diff != "" {
		t.Errorf("graft get extensions (-want +got):\n%s", diff)
	}
	got := times.ReplaceAllString(get(t, m, "yaml", "000.first-1.0.0"), "TIME")
	if diff := cmp.Diff(extensionStatus, got); diff != "" {
		t.Errorf("graft get extensions -o yaml (-want +got):\n%s", diff)
	}
	// JSON has the same fields, in no order.
	text := times.ReplaceAllString(get(t, m, "json", "000.first-1.0.0"), "TIME")
	if diff := cmp.Diff(parse(t, yaml.Unmarshal, extensionStatus), parse(t, json.Unmarshal, text)); diff != "" {
		t.Errorf("graft get extensions -o json (-want +got):\n%s", diff)
	}
}

// parse gives what a text says; its numbers become texts, which are the same in
// both forms.
func parse(t *testing.T, unmarshal func([]byte, any) error, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	metadata, ok := v["metadata"].(map[string]any)
	if !ok {
		t.Fatalf("no metadata in %s", text)
	}
	metadata["version"] = fmt.Sprint(metadata["version"])
	return v
}

var times = regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:.]+Z`)

// extensionStatus is the resource of the first layer, but for the times.
const extensionStatus = `node: 127.0.0.1
metadata:
    namespace: runtime
    type: ExtensionStatuses.runtime.talos.dev
    id: 000.first-1.0.0
    version: 1
    owner: runtime.ExtensionStatusController
    phase: running
    created: TIME
    updated: TIME
spec:
    image: 000.first-1.0.0.sqsh
    metadata:
        name: first
        version: 1.0.0
        author: the boot test
        description: first, for the boot test
        compatibility:
            talos:
                version: '>= v1.10.0'
`
