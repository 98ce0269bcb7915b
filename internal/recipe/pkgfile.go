package recipe

// pkgfile reads the Pkgfile.
func (d *document) pkgfile() Pkgfile {
	var p Pkgfile
	root, empty := d.parse()
	if empty {
		d.fail(0, "it is empty; wanted is \"format: %s\"", Format)
	}
	if root == nil {
		return p
	}
	at := d.object(root, "", map[string]read{
		"format": d.string(&p.Format),
		"vars":   d.dict((*map[string]string)(&p.Vars)),
		"labels": d.dict(&p.Labels),
	})
	if p.Format != Format {
		d.fail(at.at("format"), "format is %q; supported is %q", p.Format, Format)
	}
	return p
}

// varsFile reads a vars.yaml that has been rendered.
func (d *document) varsFile() Variables {
	var vars map[string]string
	if root, _ := d.parse(); root != nil {
		d.dict(&vars)(root, "")
	}
	return vars
}
