package check

import "github.com/graftlinux/graft/internal/format/sarif"

// SARIF is the findings as a log that code hosts show. The version is graft's.
func SARIF(findings []Finding, version string) sarif.Log {
	var listed []sarif.Rule
	for _, r := range rules {
		listed = append(listed, sarif.Rule{
			ID: r.Name, ShortDescription: sarif.Text{Text: r.Why}, Help: &sarif.Text{Text: r.Mend},
			Default: &sarif.Configuration{Level: sarif.Level(r.Severity)},
		})
	}
	var results []sarif.Result
	for _, f := range findings {
		where := f.Source
		if f.Path != "" {
			where += "/" + f.Path
		}
		results = append(results, sarif.Result{
			RuleID: f.Rule, Level: sarif.Level(f.Severity), Message: sarif.Text{Text: f.Message + "; " + f.Mend}, Locations: []sarif.Location{sarif.At(where)},
		})
	}
	return sarif.New("graft", version, listed, results)
}
