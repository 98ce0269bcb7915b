package kmod

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// files writes all files, in the order of depmod.
func (d *database) files() []File {
	lines := d.dependencyLines()
	return []File{
		{"modules.dep", depText(lines)},
		{"modules.dep.bin", d.depBin(lines)},
		{"modules.alias", d.aliasText()},
		{"modules.alias.bin", d.aliasBin()},
		{"modules.softdep", d.softdepText()},
		{"modules.symbols", d.symbolText()},
		{"modules.symbols.bin", d.symbolBin()},
		{"modules.builtin.bin", d.builtinBin()},
		{"modules.builtin.alias.bin", d.builtinAliasBin()},
		{"modules.devname", d.devnameText()},
	}
}

// dependencyLines returns the line of modules.dep for every module.
func (d *database) dependencyLines() []string {
	lines := make([]string, len(d.modules))
	for i, m := range d.modules {
		var b strings.Builder
		b.WriteString(m.Path + ":")
		for _, dep := range m.allDeps() {
			b.WriteString(" " + dep.Path)
		}
		lines[i] = b.String()
	}
	return lines
}

func depText(lines []string) []byte {
	var b bytes.Buffer
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	return b.Bytes()
}

func (d *database) depBin(lines []string) []byte {
	var t trie
	for i, m := range d.modules {
		t.insert(m.name, lines[i], m.index)
	}
	return t.encode()
}

func (d *database) aliasText() []byte {
	b := bytes.NewBufferString("# Aliases extracted from modules themselves.\n")
	for _, m := range d.modules {
		for _, alias := range m.Aliases {
			fmt.Fprintf(b, "alias %s %s\n", alias, m.name)
		}
	}
	return b.Bytes()
}

func (d *database) aliasBin() []byte {
	var t trie
	for _, m := range d.modules {
		for _, alias := range m.Aliases {
			d.insertAlias(&t, alias, m.name, m.index)
		}
	}
	return t.encode()
}

func (d *database) insertAlias(t *trie, alias, module string, priority int) {
	key, ok := normalizeAlias(alias)
	if !ok || !trieKey(key) {
		d.warn(WarnAlias, module, "the alias %q has an unmatched bracket, is too long or not ASCII", alias)
		return
	}
	t.insert(key, module, priority)
}

func (d *database) softdepText() []byte {
	b := bytes.NewBufferString("# Soft dependencies extracted from modules themselves.\n")
	for _, m := range d.modules {
		for _, softdep := range m.Softdeps {
			fmt.Fprintf(b, "softdep %s %s\n", m.name, softdep)
		}
	}
	return b.Bytes()
}

// symbolOrder returns all exported symbols in the order of depmod's hash table.
func (d *database) symbolOrder() []string {
	names := make([]string, 0, len(d.symbols))
	for name := range d.symbols {
		names = append(names, name)
	}
	hashOrder(names, symbolBuckets)
	return names
}

func (d *database) symbolText() []byte {
	b := bytes.NewBufferString("# Aliases for symbols, used by symbol_request().\n")
	for _, name := range d.symbolOrder() {
		fmt.Fprintf(b, "alias symbol:%s %s\n", name, d.symbols[name].owner.name)
	}
	return b.Bytes()
}

func (d *database) symbolBin() []byte {
	var t trie
	for _, name := range d.symbolOrder() {
		if owner := d.symbols[name].owner; trieKey(name) {
			t.insert("symbol:"+name, owner.name, owner.index)
		}
	}
	return t.encode()
}

// builtinBin is empty without modules.builtin, as depmod leaves it.
func (d *database) builtinBin() []byte {
	if d.opts.Builtin == nil {
		return nil
	}
	var t trie
	for line := range strings.Lines(string(d.opts.Builtin)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || !isLetter(line[0]) || !trieKey(line) {
			d.warn(WarnBuiltin, "", "modules.builtin has the line %q", line)
			continue
		}
		t.insert(ModuleName(line), "", 0)
	}
	return t.encode()
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func (d *database) builtinAliasBin() []byte {
	if d.opts.BuiltinModinfo == nil {
		return nil
	}
	var t trie
	for module, alias := range builtinAliases(d.opts.BuiltinModinfo) {
		if trieKey(module) {
			d.insertAlias(&t, alias, module, 0)
		}
	}
	return t.encode()
}

// devnameText lists the device nodes that load a module when they are opened.
func (d *database) devnameText() []byte {
	var b bytes.Buffer
	for _, m := range d.modules {
		name, numbers := deviceNode(m.Aliases)
		switch {
		case name == "":
		case numbers == "":
			d.warn(WarnDevname, m.name, "has the device name %s without device numbers", name)
		default:
			if b.Len() == 0 {
				b.WriteString("# Device nodes to trigger on-demand module loading.\n")
			}
			fmt.Fprintf(&b, "%s %s %s\n", m.name, name, numbers)
		}
	}
	return b.Bytes()
}

// deviceNode finds the name and the type and numbers ("c10:229") among aliases.
// It stops at the first alias with which both are known.
func deviceNode(aliases []string) (name, numbers string) {
	for _, alias := range aliases {
		if n, ok := strings.CutPrefix(alias, "devname:"); ok {
			name = n
		} else if n, ok := majorMinor(alias, "char-major-"); ok {
			numbers = "c" + n
		} else if n, ok := majorMinor(alias, "block-major-"); ok {
			numbers = "b" + n
		}
		if name != "" && numbers != "" {
			break
		}
	}
	return name, numbers
}

// majorMinor returns "10:229" for "char-major-10-229", with anything behind it.
func majorMinor(alias, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(alias, prefix)
	major, rest, ok1 := leadingNumber(rest)
	rest, ok2 := strings.CutPrefix(rest, "-")
	minor, _, ok3 := leadingNumber(rest)
	if !ok || !ok1 || !ok2 || !ok3 {
		return "", false
	}
	return fmt.Sprintf("%d:%d", major, minor), true
}

func leadingNumber(s string) (n uint64, rest string, ok bool) {
	end := 0
	for end < len(s) && '0' <= s[end] && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(s[:end], 10, 32)
	return n, s[end:], err == nil
}
