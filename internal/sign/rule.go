package sign

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// Rule says who must have signed: the owner of a key, or an identity that a
// certificate names, and who vouched for it.
type Rule struct {
	Key     *PublicKey
	Subject Match // of the certificate: an e-mail address, a URI
	Issuer  Match // of the identity token: a URL
}

// Match is an exact string, or a regular expression (Go's; it matches anywhere,
// unless it says ^ and $, as in cosign and Talos). Both must match if both are
// there; the zero Match matches nothing.
type Match struct {
	Exact  string
	Regexp *regexp.Regexp
}

// NewMatch compiles an expression; "" is none.
func NewMatch(exact, expression string) (Match, error) {
	m := Match{Exact: exact}
	if expression == "" {
		return m, nil
	}
	var err error
	if m.Regexp, err = regexp.Compile(expression); err != nil {
		return m, fmt.Errorf("the regular expression %q: %w", expression, err)
	}
	return m, nil
}

// Empty says that nothing was said, and nothing matches.
func (m Match) Empty() bool { return m.Exact == "" && m.Regexp == nil }

func (m Match) matches(s string) bool {
	return !m.Empty() && s != "" && (m.Exact == "" || s == m.Exact) && (m.Regexp == nil || m.Regexp.MatchString(s))
}

func (m Match) String() string {
	switch {
	case m.Regexp != nil && m.Exact != "":
		return strconv.Quote(m.Exact) + " and what matches " + strconv.Quote(m.Regexp.String())
	case m.Regexp != nil:
		return "what matches " + strconv.Quote(m.Regexp.String())
	case m.Exact != "":
		return strconv.Quote(m.Exact)
	}
	return "nobody"
}

func (r Rule) String() string {
	if r.Key != nil {
		return "the key " + r.Key.Fingerprint()
	}
	return "the identity " + r.Subject.String() + " of the issuer " + r.Issuer.String()
}

func (r Rule) validate() error {
	identity := !r.Subject.Empty() || !r.Issuer.Empty()
	switch {
	case r.Key != nil && identity:
		return errors.New("a rule wants a key or an identity, not both")
	case r.Key == nil && !identity:
		return errors.New("a rule wants a key or an identity")
	case r.Key == nil && r.Subject.Empty():
		return errors.New("a rule for an identity needs its subject")
	case r.Key == nil && r.Issuer.Empty():
		return errors.New("a rule for an identity needs its issuer")
	}
	return nil
}

// Refusal is why a signature does not count.
type Refusal struct {
	Rule  string // what it breaks: form, key, certificate, identity, issuer, log, timestamp, sct, signature, digest, predicate, annotations
	Wants string // what the rule wants; may be empty
	Found string // what there is instead
	Err   error  // the cause, if it has one
}

func (r *Refusal) Error() string {
	s := "rule " + r.Rule + ": " + r.Found
	if r.Wants != "" {
		s += "; the rule wants " + r.Wants
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

func (r *Refusal) Unwrap() error { return r.Err }
