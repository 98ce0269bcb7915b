package vuln

import (
	"fmt"
	"net/url"
	"strings"
)

// SARIF is the report on sources as a log of the Static Analysis Results Interchange
// Format, version 2.1.0 (OASIS). What VEX suppresses is in it as suppressed. The
// version is graft's.
func SARIF(r *Report, version string) any {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver.Name, run.Tool.Driver.Version, run.Tool.Driver.Rules = "graft", version, []sarifRule{}
	rules := map[string]bool{}
	for _, f := range append(append([]Finding{}, r.Findings...), r.Suppressed...) {
		if !rules[f.ID] {
			rules[f.ID] = true
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, f.rule())
		}
		for _, in := range f.In {
			run.Results = append(run.Results, f.result(in))
		}
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

func (f Finding) rule() sarifRule {
	r := sarifRule{ID: f.ID, ShortDescription: sarifText{f.title()}}
	if u, err := url.Parse(f.URL); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		r.HelpURI = u.String()
	}
	if f.Score > 0 {
		r.Properties = map[string]string{"security-severity": fmt.Sprintf("%.1f", f.Score)}
	}
	return r
}

func (f Finding) title() string {
	if f.Summary == "" {
		return f.ID
	}
	return f.ID + ": " + f.Summary
}

func (f Finding) result(in string) sarifResult {
	text := fmt.Sprintf("%s %s has %s", f.Package, f.Version, f.title())
	if f.Fixed != "" {
		text += "; fixed in " + f.Fixed
	}
	r := sarifResult{RuleID: f.ID, Level: f.sarifLevel(), Message: sarifText{text}}
	var loc sarifLocation
	loc.PhysicalLocation.ArtifactLocation.URI = sarifURI(in)
	loc.LogicalLocations = []sarifLogical{{Name: f.Package, FullyQualifiedName: f.PURL, Kind: "module"}}
	r.Locations = []sarifLocation{loc}
	if f.VEX != nil && f.VEX.Suppresses() {
		r.Suppressions = []sarifSuppression{{Kind: "external", Status: "accepted", Justification: f.VEX.Reason()}}
	}
	return r
}

// Reason is the verdict in words.
func (v Verdict) Reason() string {
	return strings.Join(strings.Fields(strings.Join([]string{string(v.Status), v.Justification, v.Text}, " ")), " ")
}

func (f Finding) sarifLevel() string {
	switch f.Severity {
	case Critical, High:
		return "error"
	case None, Low:
		return "note"
	}
	return "warning"
}

// sarifURI escapes what a URI reference must not have.
func sarifURI(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c > ' ' && c < 0x7f && !strings.ContainsRune(`"<>\^{|}%`+"`#?[]", rune(c)) {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return strings.ReplaceAll(b.String(), ":", "%3A")
}

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver struct {
			Name    string      `json:"name"`
			Version string      `json:"version,omitempty"`
			Rules   []sarifRule `json:"rules"`
		} `json:"driver"`
	} `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifRule struct {
	ID               string            `json:"id"`
	ShortDescription sarifText         `json:"shortDescription"`
	HelpURI          string            `json:"helpUri,omitempty"`
	Properties       map[string]string `json:"properties,omitempty"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID       string             `json:"ruleId"`
	Level        string             `json:"level"`
	Message      sarifText          `json:"message"`
	Locations    []sarifLocation    `json:"locations"`
	Suppressions []sarifSuppression `json:"suppressions,omitempty"`
}

type sarifLocation struct {
	PhysicalLocation struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
	} `json:"physicalLocation"`
	LogicalLocations []sarifLogical `json:"logicalLocations"`
}

type sarifLogical struct {
	Name               string `json:"name"`
	FullyQualifiedName string `json:"fullyQualifiedName,omitempty"`
	Kind               string `json:"kind"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Status        string `json:"status"`
	Justification string `json:"justification"`
}
