package vuln

import (
	"strings"

	gocvss20 "github.com/pandatix/go-cvss/20"
	gocvss30 "github.com/pandatix/go-cvss/30"
	gocvss31 "github.com/pandatix/go-cvss/31"
	gocvss40 "github.com/pandatix/go-cvss/40"
)

// ratings are the words of databases for levels: GitHub's, and Debian's urgency.
var ratings = map[string]Level{
	"none": None, "unimportant": Low, "low": Low, "medium": Medium, "moderate": Medium, "high": High, "critical": Critical,
}

// levelOf is the level of a word; Debian adds a "*" to what nobody has looked at again.
func levelOf(word string) Level {
	return ratings[strings.ToLower(strings.TrimRight(word, "*"))]
}

// ofScore is the rating scale of CVSS 3.1, section 5.
func ofScore(score float64) Level {
	switch {
	case score >= 9:
		return Critical
	case score >= 7:
		return High
	case score >= 4:
		return Medium
	case score > 0:
		return Low
	}
	return None
}

// scored is a vector, and what it comes to.
type scored struct {
	version int // of CVSS
	score   float64
	vector  string
}

// score computes the score of a vector.
func (s severity) score() (scored, bool) {
	var (
		got = scored{vector: s.Score}
		err error
	)
	switch {
	case strings.HasPrefix(s.Score, "CVSS:4.0/"):
		var v *gocvss40.CVSS40
		if v, err = gocvss40.ParseVector(s.Score); err == nil {
			got.version, got.score = 4, v.Score()
		}
	case strings.HasPrefix(s.Score, "CVSS:3.1/"):
		var v *gocvss31.CVSS31
		if v, err = gocvss31.ParseVector(s.Score); err == nil {
			got.version, got.score = 3, v.BaseScore()
		}
	case strings.HasPrefix(s.Score, "CVSS:3.0/"):
		var v *gocvss30.CVSS30
		if v, err = gocvss30.ParseVector(s.Score); err == nil {
			got.version, got.score = 3, v.BaseScore()
		}
	case s.Type == "CVSS_V2":
		var v *gocvss20.CVSS20
		if v, err = gocvss20.ParseVector(s.Score); err == nil {
			got.version, got.score = 2, v.BaseScore()
		}
	}
	return got, err == nil && got.version > 0
}

// rate takes the highest score of the newest CVSS that one of the entries has, else
// the worst that a database says in a word.
func (f *Finding) rate(records []record) {
	var best scored
	for _, r := range records {
		for _, s := range r.Severity {
			got, ok := s.score()
			if ok && (got.version > best.version || got.version == best.version && got.score > best.score) {
				best = got
			}
		}
	}
	if best.version > 0 {
		f.Severity, f.Score, f.Vector = ofScore(best.score), best.score, best.vector
		return
	}
	for _, r := range records {
		f.Severity = max(f.Severity, levelOf(r.Rating))
	}
}
