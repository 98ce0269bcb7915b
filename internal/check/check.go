// Package check holds the rules for an extension, as a table: each with a
// name, a severity, why it exists and how to mend what it finds. All rules run
// on all extensions and every finding is returned, not the first.
//
// The same rules stand at both doors: when an extension is made (graft
// validate) and when it is used (graft image). They look at facts only (see
// package survey), so they touch no file and their verdict depends on nothing
// else.
package check

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

// Version changes when the same facts give other findings: a cache keeps it in
// its keys.
const Version = "1"

// Severity says what a finding means.
type Severity string

// The severities. An extension with an Error does not get into a boot asset.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one violation of a rule.
type Finding struct {
	Rule     string   `json:"rule" yaml:"rule"`
	Severity Severity `json:"severity" yaml:"severity"`
	// Source is what the extension was called by the user.
	Source string `json:"source" yaml:"source"`
	// Path in the image, "" if the finding is about the whole.
	Path    string `json:"path,omitempty" yaml:"path,omitempty"`
	Message string `json:"message" yaml:"message"`
	Mend    string `json:"mend" yaml:"mend"`
	// Overridable errors may be forced by somebody who knows better.
	Overridable bool `json:"overridable" yaml:"overridable"`
}

// Rule is a line of the table.
type Rule struct {
	Name        string   `json:"name" yaml:"name"`
	Severity    Severity `json:"severity" yaml:"severity"`
	Overridable bool     `json:"overridable" yaml:"overridable"`
	Why         string   `json:"why" yaml:"why"`
	Mend        string   `json:"mend" yaml:"mend"`

	one func(*subject, reporter) // looks at one extension, or
	all func([]*subject, *run)   // at all together
}

// Subject is an extension to check.
type Subject struct {
	Source string // what the user called it
	Ref    string // the image's name, "" if it has none
	Arch   string // of the image's platform: amd64 or arm64; "" if it has none
	Facts  *survey.Facts
}

// Base is the root filesystem that extensions are added to.
type Base struct {
	Release string     // of its kernel, "6.18.45-talos"
	Files   *tree.Tree // of its root; contents are not looked at
}

// Options say what the extensions are checked for.
type Options struct {
	Talos extension.Version // the zero Version is the newest, and fits every constraint
	Base  *Base             // nil if it is not known
}

// Rules is the table, in the order in which findings of one path are listed.
func Rules() []Rule { return slices.Clone(rules) }

// Run applies every rule to every extension. Findings come in the order of
// the extensions, then by path, then by rule.
func Run(subjects []Subject, opts Options) ([]Finding, error) {
	r := &run{opts: opts}
	for i := range subjects {
		s, err := newSubject(&subjects[i], i)
		if err != nil {
			return nil, fmt.Errorf("checking %s: %w", subjects[i].Source, err)
		}
		r.subjects = append(r.subjects, s)
	}
	for i := range rules {
		r.rule, r.order = &rules[i], i
		if r.rule.all != nil {
			r.rule.all(r.subjects, r)
			continue
		}
		for _, s := range r.subjects {
			r.rule.one(s, reporter{r, s})
		}
	}
	return r.sorted(), nil
}

// Worst tells whether there are errors, and whether all of them may be forced.
func Worst(findings []Finding) (errors int, forcible bool) {
	forcible = true
	for _, f := range findings {
		if f.Severity == Error {
			errors++
			forcible = forcible && f.Overridable
		}
	}
	return errors, forcible
}

// subject is a Subject with what several rules need.
type subject struct {
	*Subject
	index    int
	manifest extension.Manifest
	unknown  []string // keys of the manifest
	bad      error    // of the manifest
	image    *tree.Tree
	root     *tree.Tree // rootfs, empty if it is missing
	services []service
}

type service struct {
	path string
	spec extension.Service
	err  error
}

func newSubject(in *Subject, index int) (*subject, error) {
	image, err := in.Facts.Tree()
	if err != nil {
		return nil, err
	}
	s := &subject{Subject: in, index: index, image: image}
	if s.root = image.Sub(extension.RootfsName); s.root == nil {
		s.root = tree.New()
	}
	s.manifest, s.unknown, s.bad = extension.ParseManifest(in.Facts.Manifest)
	for _, f := range in.Facts.Services {
		if path.Ext(f.Path) == ".yaml" && f.Error == "" {
			spec, err := extension.ParseService(f.Data)
			s.services = append(s.services, service{f.Path, spec, err})
		}
	}
	return s, nil
}

// name is the extension's own, or what the user called it.
func (s *subject) name() string {
	if s.manifest.Metadata.Name != "" {
		return s.manifest.Metadata.Name
	}
	return s.Source
}

type run struct {
	opts     Options
	subjects []*subject
	rule     *Rule
	order    int
	found    []placed
}

type placed struct {
	Finding
	subject, rule int
}

// add reports a finding of the current rule.
func (r *run) add(s *subject, p, format string, args ...any) {
	r.found = append(r.found, placed{Finding{
		Rule: r.rule.Name, Severity: r.rule.Severity, Source: s.Source, Path: p,
		Message: fmt.Sprintf(format, args...), Mend: r.rule.Mend, Overridable: r.rule.Overridable,
	}, s.index, r.order})
}

func (r *run) sorted() []Finding {
	slices.SortStableFunc(r.found, func(a, b placed) int {
		if a.subject != b.subject {
			return a.subject - b.subject
		}
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return a.rule - b.rule
	})
	findings := make([]Finding, len(r.found))
	for i, f := range r.found {
		findings[i] = f.Finding
	}
	return findings
}

// reporter adds findings about one subject.
type reporter struct {
	*run
	s *subject
}

func (r reporter) report(p, format string, args ...any) { r.run.add(r.s, p, format, args...) }

// node calls fn for each entry of the rootfs with its path on the node.
func (s *subject) node(fn func(p string, e survey.Entry)) {
	for _, e := range s.Facts.Entries {
		if p, ok := survey.OnNode(e.Path); ok {
			fn(p, e)
		}
	}
}
