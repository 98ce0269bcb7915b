package kmod

import (
	"cmp"
	"slices"
	"strings"
)

// collectSymbols notes who exports what; of several the last one wins.
func (d *database) collectSymbols() {
	for _, m := range d.modules {
		for _, s := range m.Exports {
			if s.Name == "" {
				continue
			}
			if old, ok := d.symbols[s.Name]; ok && old.owner != m {
				d.warn(WarnDuplicateSymbol, m.name, "%s is exported by %s too", s.Name, old.owner.name)
			}
			d.symbols[s.Name] = export{m, s.CRC}
		}
	}
}

// resolve finds the modules that export what each module needs.
func (d *database) resolve() {
	for _, m := range d.modules {
		known := map[*mod]bool{}
		for _, s := range m.Needs {
			e, ok := d.symbols[strings.TrimPrefix(s.Name, ".")]
			if !ok {
				continue
			}
			if s.CRC != 0 && e.crc != 0 && s.CRC != e.crc && !s.Weak {
				d.warn(WarnSymbolVersion, m.name, "was built for another %s than that of %s", s.Name, e.owner.name)
			}
			if !known[e.owner] {
				known[e.owner] = true
				m.deps = append(m.deps, e.owner)
				e.owner.users++
			}
		}
		d.checkDepends(m)
	}
}

// checkDepends compares what the kernel build noted with what is there.
func (d *database) checkDepends(m *mod) {
	for _, name := range m.Depends {
		name = normalizeName(name)
		if d.byName[name] == nil && !d.builtins[name] {
			d.warn(WarnMissingModule, m.name, "needs the module %s, which is not there", name)
		}
	}
}

// sortTopologically ranks every module before those that it needs, and sorts
// the direct needs by rank. The order among equals is depmod's: a stack.
func (d *database) sortTopologically() error {
	users := make([]int, len(d.modules))
	var stack []*mod
	for i, m := range d.modules {
		if users[i] = m.users; m.users == 0 {
			stack = append(stack, m)
		}
	}
	ranked := 0
	for len(stack) > 0 {
		m := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		m.rank = ranked
		ranked++
		for _, dep := range m.deps {
			if users[dep.index]--; users[dep.index] == 0 {
				stack = append(stack, dep)
			}
		}
	}
	if ranked < len(d.modules) {
		return &CycleError{d.findCycle(users)}
	}
	return nil
}

// findCycle follows needs among the modules that could not be ranked, all of
// which still have users, back from user to user until one comes again.
func (d *database) findCycle(users []int) []string {
	user := map[*mod]*mod{} // one user of each, itself not ranked
	for _, m := range d.modules {
		if users[m.index] > 0 {
			for _, dep := range m.deps {
				if user[dep] == nil {
					user[dep] = m
				}
			}
		}
	}
	var m *mod
	for _, m = range d.modules {
		if users[m.index] > 0 {
			break
		}
	}
	var trail []*mod
	for !slices.Contains(trail, m) {
		trail = append(trail, m)
		m = user[m]
	}
	trail = trail[slices.Index(trail, m):]
	slices.Reverse(trail)
	var names []string
	for _, m := range trail {
		names = append(names, m.name)
	}
	return names
}

// allDeps returns all that m needs, directly and not, by rank: a module before
// those that it needs. Loading goes through them from the end.
func (m *mod) allDeps() []*mod {
	var all []*mod
	seen := map[*mod]bool{}
	var visit func(*mod)
	visit = func(m *mod) {
		for _, dep := range m.deps {
			if !seen[dep] {
				seen[dep] = true
				all = append(all, dep)
				visit(dep)
			}
		}
	}
	visit(m)
	slices.SortFunc(all, func(a, b *mod) int { return cmp.Compare(a.rank, b.rank) })
	return all
}
