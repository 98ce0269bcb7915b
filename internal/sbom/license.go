package sbom

import (
	"slices"
	"strings"

	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

// maxNesting bounds the parentheses of a license expression.
const maxNesting = 100

var (
	licenseTokens = lazyregexp.New(`\(|\)|[^\s()]+|\s+`)
	licenseID     = lazyregexp.New(`^(?:[A-Za-z0-9.-]+\+?|DocumentRef-[A-Za-z0-9.-]+:LicenseRef-[A-Za-z0-9.-]+)$`)
)

// validExpression says whether a text has the form of a license expression (SPDX
// 2.3, Annex D). Which licenses there are changes too often to be known here.
func validExpression(text string) bool {
	p := expression{}
	for _, t := range licenseTokens.FindAllString(text, -1) {
		if t = strings.TrimSpace(t); t != "" {
			p.tokens = append(p.tokens, t)
		}
	}
	return p.compound(0) && len(p.tokens) == 0
}

// expression is what is left to read of one.
type expression struct{ tokens []string }

func (p *expression) take(words ...string) bool {
	if len(p.tokens) == 0 || !slices.Contains(words, p.tokens[0]) {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

// compound reads terms with AND or OR between them.
func (p *expression) compound(depth int) bool {
	for {
		if !p.term(depth) {
			return false
		}
		if !p.take("AND", "OR") {
			return true
		}
	}
}

func (p *expression) term(depth int) bool {
	if p.take("(") {
		return depth < maxNesting && p.compound(depth+1) && p.take(")")
	}
	return p.id() && (!p.take("WITH") || p.id())
}

func (p *expression) id() bool {
	if len(p.tokens) == 0 || !licenseID.MatchString(p.tokens[0]) || slices.Contains([]string{"AND", "OR", "WITH", "NONE", noAssertion}, p.tokens[0]) {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

// otherLicense defines a license that is on no list.
func (d *draft) otherLicense(id, text string) {
	for _, o := range d.doc.OtherLicenses {
		if o.LicenseIdentifier == id {
			return
		}
	}
	d.doc.OtherLicenses = append(d.doc.OtherLicenses, &v2_3.OtherLicense{LicenseIdentifier: id, ExtractedText: plain(text), LicenseName: noAssertion})
}

// referredLicenses defines those that an expression refers to: SPDX wants their text,
// a recipe has but their name.
func (d *draft) referredLicenses(expression string) {
	for _, t := range licenseTokens.FindAllString(expression, -1) {
		if strings.HasPrefix(t, "LicenseRef-") {
			d.otherLicense(t, "The recipe names the license "+t+" without its text.")
		}
	}
}
