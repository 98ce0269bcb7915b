package vuln

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// VEX is an OpenVEX document (https://github.com/openvex/spec, 0.2.0, and 0.0.1 as
// older programs write it).
type VEX struct {
	Name       string // where it is from, for people
	statements []statement
}

// Status is what a statement says of a vulnerability in a product.
type Status string

// The statuses of OpenVEX.
const (
	NotAffected        Status = "not_affected"
	Affected           Status = "affected"
	FixedStatus        Status = "fixed"
	UnderInvestigation Status = "under_investigation"
)

// Verdict is what a VEX statement says of a finding.
type Verdict struct {
	Status        Status    `json:"status"`
	Justification string    `json:"justification,omitempty"` // of not_affected
	Text          string    `json:"statement,omitempty"`     // impact, action or notes
	Document      string    `json:"document"`
	Time          time.Time `json:"time"`
}

// Suppresses says whether there is nothing to do about the finding.
func (v Verdict) Suppresses() bool { return v.Status == NotAffected || v.Status == FixedStatus }

// statement is one of a document.
type statement struct {
	Verdict
	names    []string // of the vulnerability
	products []product
}

// product is what a statement is about: a whole, or parts of it.
type product struct {
	component
	parts []component
}

// component has names that are all of one thing.
type component struct {
	names  []string // package URLs, CPEs and others
	digest []string // "sha256:" and hex digits
}

// MaxVEX is how long a VEX document may be, in bytes.
const MaxVEX = 16 << 20

// Limits of one document: what there is to compare is their product.
const (
	maxStatements = 20_000
	maxProducts   = 100_000
)

var errNotVEX = errors.New("it is no OpenVEX document: its @context does not begin with https://openvex.dev/ns")

// ReadVEX reads a document. One that says that something is not affected must say why,
// as OpenVEX demands: in its justification or its impact statement.
func ReadVEX(name string, data []byte) (*VEX, error) {
	v, err := readVEX(name, data)
	if err != nil {
		return nil, fmt.Errorf("reading the VEX document %s: %w", name, err)
	}
	return v, nil
}

type vexDocument struct {
	Context    string         `json:"@context"`
	Timestamp  *time.Time     `json:"timestamp"`
	Statements []vexStatement `json:"statements"`
}

type vexStatement struct {
	Vulnerability json.RawMessage `json:"vulnerability"` // 0.0.1 has a string
	Timestamp     *time.Time      `json:"timestamp"`
	Products      []vexComponent  `json:"products"`
	Subcomponents []vexComponent  `json:"subcomponents"` // of all products, in 0.0.1
	Status        Status          `json:"status"`
	Justification string          `json:"justification"`
	Impact        string          `json:"impact_statement"`
	Action        string          `json:"action_statement"`
	Notes         string          `json:"status_notes"`
}

type vexComponent struct {
	ID            string            `json:"@id"`
	Identifiers   map[string]string `json:"identifiers"`
	Hashes        map[string]string `json:"hashes"`
	Subcomponents []vexComponent    `json:"subcomponents"`
}

// UnmarshalJSON reads a component, or only its name.
func (c *vexComponent) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &c.ID)
	}
	type plain vexComponent
	return json.Unmarshal(data, (*plain)(c))
}

func readVEX(name string, data []byte) (*VEX, error) {
	if len(data) > MaxVEX {
		return nil, fmt.Errorf("it has more than %d MiB", MaxVEX>>20)
	}
	var doc vexDocument
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(doc.Context, "https://openvex.dev/ns") {
		return nil, errNotVEX
	}
	if len(doc.Statements) > maxStatements {
		return nil, fmt.Errorf("it has %d statements; more than %d are not read", len(doc.Statements), maxStatements)
	}
	v := &VEX{Name: name}
	components := 0
	for i, raw := range doc.Statements {
		s, err := raw.read(doc.Timestamp)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		for _, p := range s.products {
			components += 1 + len(p.parts)
		}
		if components > maxProducts {
			return nil, fmt.Errorf("it is about more than %d products and parts of them", maxProducts)
		}
		s.Document = name
		v.statements = append(v.statements, s)
	}
	return v, nil
}

func (raw vexStatement) read(documentTime *time.Time) (s statement, err error) {
	s.Verdict = Verdict{Status: raw.Status, Justification: raw.Justification, Text: firstOf(raw.Impact, raw.Action, raw.Notes)}
	switch {
	case !slices.Contains([]Status{NotAffected, Affected, FixedStatus, UnderInvestigation}, raw.Status):
		return s, fmt.Errorf("%.40q is no status of OpenVEX", raw.Status)
	case raw.Status == NotAffected && raw.Justification == "" && raw.Impact == "":
		return s, errors.New("not_affected needs a justification or an impact_statement")
	}
	for _, at := range []*time.Time{raw.Timestamp, documentTime} {
		if at != nil && s.Time.IsZero() {
			s.Time = *at
		}
	}
	if s.names, err = vulnerabilityNames(raw.Vulnerability); err != nil {
		return s, err
	}
	for _, p := range raw.Products {
		got := product{component: p.read()}
		for _, part := range slices.Concat(p.Subcomponents, raw.Subcomponents) {
			got.parts = append(got.parts, part.read())
		}
		s.products = append(s.products, got)
	}
	return s, nil
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func vulnerabilityNames(data json.RawMessage) ([]string, error) {
	var v struct {
		ID      string   `json:"@id"`
		Name    string   `json:"name"`
		Aliases []string `json:"aliases"`
	}
	if len(data) > 0 && data[0] == '"' {
		if err := json.Unmarshal(data, &v.Name); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(data, &v); err != nil {
		return nil, fmt.Errorf("its vulnerability: %w", err)
	}
	if v.Name == "" {
		v.Name = v.ID[strings.LastIndexByte(v.ID, '/')+1:]
	}
	if v.Name == "" {
		return nil, errors.New("it does not name the vulnerability")
	}
	return append([]string{v.Name}, v.Aliases...), nil
}

func (c vexComponent) read() component {
	var r component
	if c.ID != "" {
		r.names = append(r.names, c.ID)
	}
	for _, id := range c.Identifiers {
		r.names = append(r.names, id)
	}
	slices.Sort(r.names)
	for algorithm, value := range c.Hashes {
		r.digest = append(r.digest, strings.ReplaceAll(algorithm, "-", "")+":"+strings.ToLower(value))
	}
	return r
}
