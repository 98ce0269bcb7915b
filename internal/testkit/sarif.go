package testkit

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// ValidSARIF judges a log by the official schema of SARIF 2.1.0.
func ValidSARIF(t *testing.T, log any) {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(filepath.Dir(here), "../format/sarif/testdata/sarif-2.1.0-rtm.5.json"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Error(err)
	}
}
