package sbom

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Subject is what one document is made about: an extension, or a boot asset with
// the base and the extensions that are its parts.
type Subject struct {
	Package           // the ID is not used
	BOMs    []*BOM    // that tell what is in it
	Parts   []Subject // that it contains
}

// Merge makes one BOM of all that is known of a subject. The subject is its root and
// CONTAINS its parts; each part has what its own documents say of it, and CONTAINS what
// they name and leave loose. The root of a document that is but a name, as bldr and
// Scan write it, is the part itself. One package that several documents name is there
// once, with all that they say of it. Files are left out.
func Merge(s Subject) *BOM {
	m := merger{
		bom:  &BOM{Name: strings.Trim(s.Name+"-"+s.Version, "-"), Licenses: map[string]string{}},
		ids:  ids{},
		same: map[string][]int{},
		seen: map[Relation]bool{},
		to:   map[string][]string{},
	}
	m.bom.Roots = []string{m.subject(s)}
	return m.bom
}

// merger is one BOM in the making.
type merger struct {
	bom  *BOM
	ids  ids
	same map[string][]int // packages by what identifies them
	seen map[Relation]bool
	to   map[string][]string // what a package relates to
}

func (m *merger) subject(s Subject) string {
	id := m.add(s.Package)
	for _, part := range s.Parts {
		m.relate(Relation{id, Contains, m.subject(part)})
	}
	for _, b := range s.BOMs {
		m.document(id, b.WithoutFiles())
	}
	return id
}

// document adds what a document says of the package owner.
func (m *merger) document(owner string, b *BOM) {
	licenses := m.licenses(b.Licenses)
	names := map[string]string{} // IDs in the document: those here
	var placed []string
	for _, p := range b.Packages {
		if slices.Contains(b.Roots, p.ID) && p.isName() {
			names[p.ID] = owner
			continue
		}
		p.License = m.renamed(p.License, licenses)
		id := m.place(p)
		names[p.ID], placed = id, append(placed, id)
	}
	held := map[string]bool{owner: true}
	for _, r := range b.Relations {
		r.From, r.To = names[r.From], names[r.To]
		if r.From == "" || r.To == "" || r.From == r.To {
			continue
		}
		m.relate(r)
		held[r.To] = true
	}
	reached := map[string]bool{}
	m.reach(owner, reached)
	for _, heldToo := range []bool{false, true} { // those that hold each other in a circle come last
		for _, id := range placed {
			if !reached[id] && (heldToo || !held[id]) {
				m.relate(Relation{owner, Contains, id})
				m.reach(id, reached)
			}
		}
	}
}

// reach notes all that a package leads to.
func (m *merger) reach(id string, reached map[string]bool) {
	for todo := []string{id}; len(todo) > 0; {
		id, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if !reached[id] {
			reached[id] = true
			todo = append(todo, m.to[id]...)
		}
	}
}

// isName says whether a package has nothing that would identify it.
func (p *Package) isName() bool { return p.PURL == "" && len(p.CPEs)+len(p.Checksums) == 0 }

func (m *merger) relate(r Relation) {
	if !m.seen[r] {
		m.seen[r] = true
		m.to[r.From] = append(m.to[r.From], r.To)
		m.bom.Relations = append(m.bom.Relations, r)
	}
}

// add adds a package under a new ID.
func (m *merger) add(p Package) string {
	p.ID = string(m.ids.next("Package-" + strings.Trim(p.Name+"-"+p.Version, "-")))
	p.CPEs, p.Checksums = slices.Clone(p.CPEs), slices.Clone(p.Checksums)
	m.bom.Packages = append(m.bom.Packages, p)
	return p.ID
}

// place finds the package that is the same, or adds it.
func (m *merger) place(p Package) string {
	key := p.PURL
	if key == "" {
		key = p.Name + "\n" + p.Version
	}
	for _, i := range m.same[key] {
		if have := &m.bom.Packages[i]; have.agrees(p) {
			have.learn(p)
			return have.ID
		}
	}
	m.same[key] = append(m.same[key], len(m.bom.Packages))
	return m.add(p)
}

// agrees says whether nothing tells two packages of one name apart.
func (p *Package) agrees(q Package) bool {
	for _, a := range p.Checksums {
		for _, b := range q.Checksums {
			if a.Algorithm == b.Algorithm && a.Value != b.Value {
				return false
			}
		}
	}
	return p.Origin == q.Origin && (p.Sum == q.Sum || p.Sum == "" || q.Sum == "")
}

// learn takes over what another document says of the same package.
func (p *Package) learn(q Package) {
	for _, c := range q.CPEs {
		if !slices.Contains(p.CPEs, c) {
			p.CPEs = append(p.CPEs, c)
		}
	}
	for _, c := range q.Checksums {
		if !slices.Contains(p.Checksums, c) {
			p.Checksums = append(p.Checksums, c)
		}
	}
	if p.License == "" {
		p.License = q.License
	}
	if p.Sum == "" {
		p.Sum = q.Sum
	}
	if p.Purpose == "" {
		p.Purpose = q.Purpose
	}
}

// licenses takes over the texts of a document's own licenses, and says how they are
// called from now on: two documents may give one name to two texts.
func (m *merger) licenses(texts map[string]string) map[string]string {
	names := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		for n := 1; ; n++ {
			now := name
			if n > 1 {
				now = fmt.Sprintf("%s-%d", name, n)
			}
			if have, ok := m.bom.Licenses[now]; !ok || have == texts[name] {
				m.bom.Licenses[now], names[name] = texts[name], now
				break
			}
		}
	}
	return names
}

// renamed is a license expression with the names of this BOM.
func (m *merger) renamed(expression string, names map[string]string) string {
	if !strings.Contains(expression, "LicenseRef-") {
		return expression
	}
	return licenseTokens.ReplaceAllStringFunc(expression, func(token string) string {
		at := strings.Index(token, "LicenseRef-")
		if at < 0 || at > 0 && !strings.HasPrefix(token, "DocumentRef-") {
			return token
		}
		token = token[at:] // what is in another document cannot be told from here
		if now, ok := names[token]; ok {
			return now
		}
		if _, ok := m.bom.Licenses[token]; !ok {
			m.bom.Licenses[token] = "A document names the license " + token + " without its text."
		}
		return token
	})
}
