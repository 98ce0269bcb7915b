package grub

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxConfig is the size in bytes of a large grub.cfg: that of a distribution
// with a hundred kernels has some 50 KiB.
const maxConfig = 1 << 20

// ParseConfig reads back what a grub.cfg starts: one written by Config or by
// Talos Linux, or, as far as it can be told without running it, any other.
// Conditions are taken as met, variables stay as they are written, entries of
// submenus come as if there were none. An entry that starts no Linux kernel has
// a title alone. The command line is what the kernel would get.
func ParseConfig(data []byte) (*Menu, error) {
	if len(data) > maxConfig {
		return nil, fmt.Errorf("reading grub.cfg: it has %d bytes, want %d at most", len(data), maxConfig)
	}
	p := parser{lexer: lexer{rest: string(data), line: 1}}
	for {
		more, err := p.statement()
		if err != nil {
			return nil, fmt.Errorf("reading grub.cfg: line %d: %w", p.line, err)
		}
		if !more {
			return &p.menu, nil
		}
	}
}

type parser struct {
	lexer
	menu   Menu
	blocks []bool // the open ones, and whether each is an entry
	entry  bool   // the last of the menu is open
}

// statement reads a command with its words, up to a line's end or a brace.
func (p *parser) statement() (more bool, err error) {
	var words []string
	for {
		t, err := p.next()
		switch {
		case err != nil:
			return false, err
		case t.kind == word:
			words = append(words, t.text)
			continue
		}
		if err := p.command(words, t.kind == '{'); err != nil {
			return false, err
		}
		switch t.kind {
		case '}':
			err = p.closeBlock()
		case endOfFile:
			if len(p.blocks) > 0 {
				err = errors.New("a closing brace is missing")
			}
		}
		return t.kind != endOfFile, err
	}
}

// command notes what a command says about the menu. It may open a block.
func (p *parser) command(words []string, block bool) error {
	name := ""
	if len(words) > 0 {
		name = words[0]
	}
	isEntry := block && name == "menuentry"
	switch {
	case isEntry && p.entry:
		return errors.New("a menuentry is inside of another")
	case isEntry:
		title, ok := entryTitle(words[1:])
		if !ok {
			return errors.New("a menuentry has no title")
		}
		p.menu.Entries = append(p.menu.Entries, Entry{Title: title})
		p.entry = true
	case p.entry:
		p.menu.Entries[len(p.menu.Entries)-1].command(name, words)
	case name == "set" && len(words) == 2:
		p.menu.set(words[1])
	}
	if block {
		p.blocks = append(p.blocks, isEntry)
	}
	return nil
}

func (p *parser) closeBlock() error {
	last := len(p.blocks) - 1
	if last < 0 {
		return errors.New("a closing brace closes nothing")
	}
	if p.blocks[last] {
		p.entry = false
	}
	p.blocks = p.blocks[:last]
	return nil
}

func (m *Menu) set(assignment string) {
	switch key, value, _ := strings.Cut(assignment, "="); key {
	case "default":
		m.Default = value
	case "fallback":
		m.Fallback = value
	case "timeout":
		if n, err := strconv.Atoi(value); err == nil {
			m.Timeout = n
		}
	}
}

func (e *Entry) command(name string, words []string) {
	switch name {
	case "linux", "linux16", "linuxefi":
		if len(words) > 1 {
			e.Kernel, e.Cmdline = words[1], joinCmdline(words[2:])
		}
	case "initrd", "initrd16", "initrdefi":
		e.Initrds = append(e.Initrds, words[1:]...)
	}
}

// entryTitle finds the first argument of menuentry that is not an option.
func entryTitle(args []string) (string, bool) {
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "--class", "--users", "--hotkey", "--source", "--id":
			i++ // its value
		default:
			if !strings.HasPrefix(args[i], "-") {
				return args[i], true
			}
		}
	}
	return "", false
}

// joinCmdline makes a command line of the arguments of the command linux, as
// GRUB does.
func joinCmdline(args []string) string {
	var b strings.Builder
	for i, arg := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		quote := strings.Contains(arg, " ")
		if quote {
			b.WriteByte('"')
		}
		writeArgument(&b, arg)
		if quote {
			b.WriteByte('"')
		}
	}
	return b.String()
}

func writeArgument(b *strings.Builder, arg string) {
	for i := range len(arg) {
		if strings.IndexByte(`\'"`, arg[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(arg[i])
	}
}
