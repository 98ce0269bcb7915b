package resource

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/resource/protobuf"
	"github.com/google/go-cmp/cmp"
)

func received(t testing.TB, spec string) *Resource {
	t.Helper()
	r, err := protobuf.Unmarshal(wire(spec))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSpecIsJSON(t *testing.T) {
	r := received(t, "1: {true: [a, .nan, -.inf, 2, 0x10, ~]}\nat: 2022-02-10T18:25:04Z\nbig: 18446744073709551615\n")
	spec, err := Spec(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"1":{"true":["a","NaN","-Inf",2,16,null]},"at":"2022-02-10T18:25:04Z","big":18446744073709551615}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("spec as JSON (-want +got):\n%s", diff)
	}
}

func TestMetadataOf(t *testing.T) {
	r := received(t, "a: b")
	md := r.Metadata()
	md.SetCreated(time.Date(2022, 2, 10, 18, 25, 4, 5, time.UTC))
	md.SetUpdated(md.Created().Add(time.Hour))
	md.Labels().Set("l", "1")
	md.Finalizers().Add("f")
	want := Metadata{
		Namespace: "x", Type: "Xs.x.x", ID: "x", Version: uint64(1), Phase: "running",
		Created: "2022-02-10T18:25:04Z", Updated: "2022-02-10T19:25:04Z",
		Labels: map[string]string{"l": "1"}, Finalizers: []string{"f"},
	}
	if diff := cmp.Diff(want, MetadataOf(r)); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

func TestColumnsOfRefuses(t *testing.T) {
	d := Definition{Type: "Xs.x.x"}
	d.PrintColumns = (&ExtensionStatus{}).ResourceDefinition().PrintColumns
	d.PrintColumns[0].JSONPath = "{range .x}"
	if _, err := ColumnsOf(d); err == nil || err.Error() != `preparing column "Name" of Xs.x.x: parsing JSONPath "{range .x}": "range .x" begins with neither . nor [` {
		t.Errorf("got %v, want an error that names the column", err)
	}
}

// FuzzShow shows specs that a node may have sent.
func FuzzShow(f *testing.F) {
	for _, s := range []string{"a: b\n", "image: 0.sqsh\nmetadata:\n    name: a\n    version: v1\n", "1: {true: [.nan, ~, !!binary QQ==]}\n", "a: &a [*a]\n", "- x\n--- y\n"} {
		f.Add(s)
	}
	columns, err := ColumnsOf((&ExtensionStatus{}).ResourceDefinition())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		r := received(t, spec)
		YAML(r)
		v, err := Spec(r)
		if err != nil {
			return
		}
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("as JSON: %v", err)
		}
		cells, err := columns.Cells(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cells {
			if printable(c) != c {
				t.Errorf("a cell is not printable: %q", c)
			}
		}
	})
}
