package check

// SARIF is the findings as a log of the Static Analysis Results Interchange
// Format, version 2.1.0 (OASIS), which code hosts show beside the files.
func SARIF(findings []Finding, version string) any {
	results := []sarifResult{}
	for _, f := range findings {
		r := sarifResult{RuleID: f.Rule, Level: string(f.Severity), Message: sarifText{f.Message + "; " + f.Mend}}
		where := f.Source
		if f.Path != "" {
			where += "/" + f.Path
		}
		var loc sarifLocation
		loc.PhysicalLocation.ArtifactLocation.URI = where
		r.Locations = []sarifLocation{loc}
		results = append(results, r)
	}
	var run sarifRun
	run.Tool.Driver.Name, run.Tool.Driver.Version = "graft", version
	for _, rule := range rules {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: rule.Name, ShortDescription: sarifText{rule.Why}, Help: sarifText{rule.Mend},
			DefaultConfiguration: sarifLevel{string(rule.Severity)},
		})
	}
	run.Results = results
	return sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	}
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
	ID                   string     `json:"id"`
	ShortDescription     sarifText  `json:"shortDescription"`
	Help                 sarifText  `json:"help"`
	DefaultConfiguration sarifLevel `json:"defaultConfiguration"`
}

type sarifLevel struct {
	Level string `json:"level"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	PhysicalLocation struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
	} `json:"physicalLocation"`
}
