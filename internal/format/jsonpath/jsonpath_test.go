package jsonpath

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const document = `
a: x
n: null
l: [1, 2, "<z>"]
m: {b: 2, c: 1.5, big: 12345678901234567890}
t: true
f: 1e30
e: []
odd.key: dotted
conds:
  - {type: Ready, status: "True", code: 0}
  - {type: Other, status: "F", code: 7}
`

func decode(t testing.TB, doc string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// The wanted texts are those of k8s.io/client-go/util/jsonpath v0.35.0, which talosctl
// uses, with missing keys allowed; the exceptions say so.
func TestText(t *testing.T) {
	value := decode(t, document)
	for _, tt := range []struct{ path, want string }{
		{`{.a}`, "x"},
		{`{$.a}`, "x"},
		{`{.n}`, "null"},
		{`{.l}`, `[1,2,"<z>"]`}, // there: \u003cz\u003e
		{`{.l[*]}`, "1 2 <z>"},
		{`{.l[:]}`, "1 2 <z>"},
		{`{.l[0]}`, "1"},
		{`{.l[-1]}`, "<z>"},
		{`{.l[9]}`, ""}, // there: an error
		{`{.e[0]}`, ""}, // there: an error
		{`{.a[0]}`, ""}, // there: an error
		{`{.l[0:2]}`, "1 2"},
		{`{.l[-2:]}`, "2 <z>"},
		{`{.l[2:1]}`, ""},
		{`{.l[-9:9]}`, "1 2 <z>"},
		{`{.l[0,2]}`, "1 <z>"},
		{`{.m}`, `{"b":2,"big":12345678901234567890,"c":1.5}`},
		{`{.m.c}`, "1.5"},
		{`{.m.*}`, "2 12345678901234567890 1.5"}, // there: in random order
		{`{.m['b']}`, "2"},
		{`{.m["b"]}`, "2"},
		{`{['odd.key']}`, "dotted"},
		{`{.t}`, "true"},
		{`{.f}`, "1e+30"},
		{`{.zz}`, ""},
		{`{.zz.y}`, ""},
		{`{.a.b}`, ""},
		{`{.l.b}`, ""},
		{`{.n.x}`, ""},
		{`{.n[*]}`, ""},
		{`{.e}`, "[]"},
		{`{.e[*]}`, ""},
		{`{.conds[?(@.type=="Ready")].status}`, "True"},
		{`{.conds[?(@.type == 'Ready')].status}`, "True"},
		{`{.conds[?(@.type!="Ready")].status}`, "F"},
		{`{.conds[?(@.code==7)].type}`, "Other"},
		{`{.conds[?(@.type)].type}`, "Ready Other"},
		{`{.conds[?(@.nope=="x")].type}`, ""},
		{`{.conds[*].type}`, "Ready Other"},
		{`{.zz[*].q}`, ""},
		{`x{.a}y`, "xxy"},
		{`{.a}{.t}`, "xtrue"},
		{`{.m.b}-{.m.c}`, "2-1.5"},
		{`{"q}"}`, "q}"},
		{`plain`, "plain"},
		{``, ""},
	} {
		p, err := Parse(tt.path)
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		if got := p.Text(value); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.path, got, tt.want)
		}
	}
	self, err := Parse("{@}")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := self.Text("scalar"), "scalar"; got != want {
		t.Errorf("{@}: got %q, want %q", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{`{.a`, "never closed"},
		{`{}`, "nothing stands"},
		{`{.l[}`, "never closed"},
		{`{..a}`, "recursive"},
		{`{a}`, "neither"},
		{`{.}`, "name is missing"},
		{`{.l[x]}`, "no index"},
		{`{.l[]}`, "no index"},
		{`{.l[1:x]}`, "no number"},
		{`{.l[x:]}`, "no number"},
		{`{.l[?(@.a<1)]}`, "neither"},
		{`{.l[?(@.a==b)]}`, "not in quotes"},
		{`{range .l}{end}`, "neither"},
		{`{"a}`, "never closed"},
		{`{'a}`, "never closed"},
		{strings.Repeat("x", MaxLength+1), "more than"},
	} {
		_, err := Parse(tt.path)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error that says %q", tt.path, err, tt.want)
		}
	}
}

func TestTextIsBounded(t *testing.T) {
	p, err := Parse("{" + strings.Repeat("[0,0,0]", 100) + "}")
	if err != nil {
		t.Fatal(err)
	}
	nested := any("x")
	for range 100 {
		nested = []any{nested}
	}
	if got, want := len(p.Text(nested)), 2*maxFound-1; got != want {
		t.Errorf("got %d bytes, want %d", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{.metadata.name}`, `{@}`, `{.aliases[:]}`, `{.conditions[?(@.type=="Ready")].status}`,
		`{.endpoints[*].port}`, `a{.b[0,-1]['c']}{"d"}`, `{.a[?(@.b!='x')][1:]}`} {
		f.Add(s)
	}
	value := decode(f, document)
	f.Fuzz(func(t *testing.T, template string) {
		p, err := Parse(template)
		if err != nil {
			return
		}
		if a, b := p.Text(value), p.Text(value); a != b {
			t.Errorf("two runs differ: %q and %q", a, b)
		}
	})
}
