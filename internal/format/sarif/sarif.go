// Package sarif has the part of the Static Analysis Results Interchange Format,
// version 2.1.0 (OASIS), that graft's findings need. Code hosts show such a log
// beside the files.
package sarif

import (
	"fmt"
	"strings"
)

// Log is a whole document, of one run of a tool.
type Log struct {
	Schema  string `json:"$schema"`
	Version string `json:"version"`
	Runs    []Run  `json:"runs"`
}

// New is the log of a tool. Every result names a rule of the list.
func New(tool, version string, rules []Rule, results []Result) Log {
	run := Run{Results: results}
	run.Tool.Driver = Driver{Name: tool, Version: version, Rules: rules}
	if run.Results == nil {
		run.Results = []Result{} // null would mean that nobody looked
	}
	if run.Tool.Driver.Rules == nil {
		run.Tool.Driver.Rules = []Rule{}
	}
	return Log{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []Run{run}}
}

// Run is what a tool found.
type Run struct {
	Tool struct {
		Driver Driver `json:"driver"`
	} `json:"tool"`
	Invocations []Invocation `json:"invocations,omitempty"`
	Results     []Result     `json:"results"`
}

// Invocation is how a run of the tool went.
type Invocation struct {
	Successful    bool           `json:"executionSuccessful"`
	Notifications []Notification `json:"toolExecutionNotifications,omitempty"`
}

// Notification is something about the run itself, such as what it could not look at.
type Notification struct {
	Level     Level      `json:"level"`
	Message   Text       `json:"message"`
	Locations []Location `json:"locations,omitempty"`
}

// Driver is the tool, and what it looks for.
type Driver struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Rules   []Rule `json:"rules"`
}

// Rule is something that a tool looks for.
type Rule struct {
	ID               string            `json:"id"`
	ShortDescription Text              `json:"shortDescription"`
	Help             *Text             `json:"help,omitempty"`
	HelpURI          string            `json:"helpUri,omitempty"`
	Default          *Configuration    `json:"defaultConfiguration,omitempty"`
	Properties       map[string]string `json:"properties,omitempty"` // "security-severity" is a CVSS score
}

// Configuration is how bad a rule's results are if they do not say.
type Configuration struct {
	Level Level `json:"level"`
}

// Level is how bad a result is.
type Level string

// The levels.
const (
	Error   Level = "error"
	Warning Level = "warning"
	Note    Level = "note"
)

// Text is a message, plain.
type Text struct {
	Text string `json:"text"`
}

// Result is one finding.
type Result struct {
	RuleID       string        `json:"ruleId"`
	Level        Level         `json:"level"`
	Message      Text          `json:"message"`
	Locations    []Location    `json:"locations"`
	Suppressions []Suppression `json:"suppressions,omitempty"`
}

// Location is where a finding is.
type Location struct {
	Physical Physical  `json:"physicalLocation"`
	Logical  []Logical `json:"logicalLocations,omitempty"`
}

// Physical is a file.
type Physical struct {
	Artifact struct {
		URI string `json:"uri"`
	} `json:"artifactLocation"`
}

// Logical is a part of a file that has a name, such as a module.
type Logical struct {
	Name               string `json:"name"`
	FullyQualifiedName string `json:"fullyQualifiedName,omitempty"`
	Kind               string `json:"kind"`
}

// Suppression says why a result does not count.
type Suppression struct {
	Kind          string `json:"kind"`   // "external": by a document beside the source
	Status        string `json:"status"` // "accepted"
	Justification string `json:"justification"`
}

// At is a location in a file, or in anything that has a name.
func At(name string, parts ...Logical) Location {
	l := Location{Logical: parts}
	l.Physical.Artifact.URI = uri(name)
	return l
}

// uri is a name as a relative reference (RFC 3986).
func uri(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c > ' ' && c < 0x7f && !strings.ContainsRune(`"<>\^{|}%`+"`#?[]:", rune(c)) {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
