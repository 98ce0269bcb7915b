package vuln

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/format/sarif"
)

// SARIF is the report as a log that code hosts show. What VEX suppresses is in it
// as suppressed; what was not checked is a warning. Subjects that nobody looked at are
// notifications of the tool as well: without all extensions the scan is no success.
// The version is graft's.
func SARIF(r *Report, version string) sarif.Log {
	var rules []sarif.Rule
	var results []sarif.Result
	listed := map[string]bool{}
	for _, f := range slices.Concat(r.Findings, r.Suppressed) {
		if !listed[f.ID] {
			listed[f.ID] = true
			rules = append(rules, f.rule())
		}
		for _, in := range f.In {
			results = append(results, f.result(in))
		}
	}
	if unchecked := r.uncheckedResults(); len(unchecked) > 0 {
		rules, results = append(rules, uncheckedRule), append(results, unchecked...)
	}
	log := sarif.New("graft", version, rules, results)
	log.Runs[0].Invocations = []sarif.Invocation{r.invocation()}
	return log
}

// invocation tells of the subjects that nobody looked at.
func (r *Report) invocation() sarif.Invocation {
	i := sarif.Invocation{Successful: len(r.Unscanned()) == 0}
	for _, n := range r.NotScanned {
		level := sarif.Error
		if n.Base {
			level = sarif.Warning
		}
		i.Notifications = append(i.Notifications, sarif.Notification{
			Level: level, Message: sarif.Text{Text: n.Source + ": " + n.Reason()}, Locations: []sarif.Location{sarif.At(n.Source)},
		})
	}
	return i
}

// uncheckedRule is what a scan breaks that says too little.
var uncheckedRule = sarif.Rule{
	ID: "graft-unchecked", ShortDescription: sarif.Text{Text: "Packages that were not looked for"},
	Help:    &sarif.Text{Text: "Nothing is known of their vulnerabilities. Scan with a database that has their ecosystem, and give what has no SBOM one."},
	Default: &sarif.Configuration{Level: sarif.Warning},
}

// uncheckedResults are one for each subject that was not scanned, then one for each
// with packages that were not checked, and each reason, in the order of the packages.
func (r *Report) uncheckedResults() []sarif.Result {
	type kind struct{ in, reason string }
	var order []kind
	counts := map[kind]int{}
	for _, u := range r.Unchecked() {
		k := kind{u.In, u.Reason}
		if counts[k]++; counts[k] == 1 {
			order = append(order, k)
		}
	}
	var results []sarif.Result
	for _, n := range r.NotScanned {
		results = append(results, unchecked(n.Source, n.Reason()))
	}
	for _, k := range order {
		text := "1 package was not looked for"
		if n := counts[k]; n > 1 {
			text = fmt.Sprintf("%d packages were not looked for", n)
		}
		results = append(results, unchecked(k.in, text+": "+k.reason))
	}
	return results
}

func unchecked(in, text string) sarif.Result {
	return sarif.Result{
		RuleID: uncheckedRule.ID, Level: sarif.Warning, Locations: []sarif.Location{sarif.At(in)},
		Message: sarif.Text{Text: text},
	}
}

func (f Finding) rule() sarif.Rule {
	r := sarif.Rule{ID: f.ID, ShortDescription: sarif.Text{Text: f.title()}}
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

func (f Finding) result(in string) sarif.Result {
	text := fmt.Sprintf("%s %s has %s", f.Package, f.Version, f.title())
	if f.Fixed != "" {
		text += "; fixed in " + f.Fixed
	}
	if doubt := f.Doubt(); doubt != "" {
		text += "; " + doubt
	}
	at := sarif.At(in, sarif.Logical{Name: f.Package, FullyQualifiedName: f.PURL, Kind: "module"})
	r := sarif.Result{RuleID: f.ID, Level: f.sarifLevel(), Message: sarif.Text{Text: text}, Locations: []sarif.Location{at}}
	if f.VEX != nil && f.VEX.Suppresses() {
		r.Suppressions = []sarif.Suppression{{Kind: "external", Status: "accepted", Justification: f.VEX.Reason()}}
	}
	return r
}

// Reason is the verdict in words.
func (v Verdict) Reason() string {
	return strings.Join(strings.Fields(strings.Join([]string{string(v.Status), v.Justification, v.Text}, " ")), " ")
}

func (f Finding) sarifLevel() sarif.Level {
	switch f.Severity {
	case Critical, High:
		return sarif.Error
	case None, Low:
		return sarif.Note
	}
	return sarif.Warning
}
