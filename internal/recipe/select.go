package recipe

// SourcesOf gives all sources of packages, on all platforms.
func (u *Update) SourcesOf(packages ...string) ([]Use, error) {
	wanted := map[place]bool{}
	for _, name := range packages {
		found := false
		for platform, set := range u.sets {
			p := set.Package(name)
			if p == nil {
				continue
			}
			found = true
			for i, step := range p.Steps {
				for j := range step.Sources {
					wanted[place{platform, name, i, j}] = true
				}
			}
		}
		if !found {
			return nil, &UnknownError{Name: name, Near: u.sets[0].Near(name)}
		}
	}
	return u.uses(wanted), nil
}
