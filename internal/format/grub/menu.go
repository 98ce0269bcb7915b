package grub

import (
	"bytes"
	"fmt"
	"strings"
)

// Menu is a grub.cfg: what can be started, and what is if nobody chooses.
type Menu struct {
	// Default is the title of the entry that starts by itself, or empty for the first.
	Default string

	// Fallback is the title of the entry that is tried if the default one cannot
	// be loaded. May be empty.
	Fallback string

	// Timeout is how many seconds the menu waits; below zero, until one chooses.
	Timeout int

	Entries []Entry
}

// Entry is one line of the menu, a Linux kernel.
type Entry struct {
	// Title is unique in a menu.
	Title string

	// Kernel and Initrds are files as GRUB finds them, such as /A/vmlinuz. The
	// initrds are loaded one behind the other.
	Kernel  string
	Initrds []string

	// Cmdline is for the kernel: words, in which double quotes keep spaces
	// together. GRUB passes them on with one space between them and with quotes
	// around whole words: what is a="b c" here arrives as "a=b c", which is the
	// same to the kernel. It puts "BOOT_IMAGE=" and the path of the kernel first.
	Cmdline string
}

// Config returns the menu as grub.cfg. The commands and their quoting are those
// which Talos Linux's installer writes, and reads when it upgrades.
func (m *Menu) Config() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("writing grub.cfg: %w", err)
	}
	var b bytes.Buffer
	if m.Default != "" {
		fmt.Fprintf(&b, "set default=%s\n", quoteTitle(m.Default))
	}
	if m.Fallback != "" {
		fmt.Fprintf(&b, "set fallback=%s\n", quoteTitle(m.Fallback))
	}
	fmt.Fprintf(&b, "set timeout=%d\n\n", m.Timeout)
	b.WriteString("insmod all_video\n\nterminal_input console\nterminal_output console\n")
	for _, e := range m.Entries {
		if err := e.write(&b); err != nil {
			return nil, fmt.Errorf("writing grub.cfg: entry %q: %w", e.Title, err)
		}
	}
	return b.Bytes(), nil
}

func (e *Entry) write(b *bytes.Buffer) error {
	cmdline, err := quoteCmdline(e.Cmdline)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "\nmenuentry %s {\n  set gfxmode=auto\n  set gfxpayload=text\n  linux %s", quoteTitle(e.Title), quoteWord(e.Kernel))
	if cmdline != "" {
		b.WriteString(" " + cmdline)
	}
	b.WriteByte('\n')
	if len(e.Initrds) > 0 {
		b.WriteString("  initrd")
		for _, path := range e.Initrds {
			b.WriteString(" " + quoteWord(path))
		}
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
	return nil
}

// check refuses what GRUB would read as something else.
func (m *Menu) check() error {
	titles := map[string]bool{}
	for i := range m.Entries {
		e := &m.Entries[i]
		if err := e.check(); err != nil {
			return fmt.Errorf("entry %q: %w", e.Title, err)
		}
		if titles[e.Title] {
			return fmt.Errorf("entry %q is there twice", e.Title)
		}
		titles[e.Title] = true
	}
	for _, chosen := range []string{m.Default, m.Fallback} {
		if chosen != "" && !titles[chosen] {
			return fmt.Errorf("no entry is called %q", chosen)
		}
	}
	return nil
}

func (e *Entry) check() error {
	switch {
	case e.Title == "" || e.Title[0] >= '0' && e.Title[0] <= '9':
		return fmt.Errorf("a title begins with something else than a digit: GRUB takes a number for the number of an entry")
	case e.Title[0] == '-' || strings.ContainsRune(e.Title, '>'):
		return fmt.Errorf("a title begins with something else than \"-\" and has no \">\": to GRUB these are an option and a submenu")
	case e.Kernel == "":
		return fmt.Errorf("it has no kernel")
	}
	for _, s := range append([]string{e.Title, e.Kernel, e.Cmdline}, e.Initrds...) {
		if i := strings.IndexFunc(s, isControl); i >= 0 {
			return fmt.Errorf("%q has a control character", s)
		}
	}
	for _, path := range append([]string{e.Kernel}, e.Initrds...) {
		if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "(") {
			return fmt.Errorf("the file %q is not of the form /path or (device)/path", path)
		}
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// quoteTitle returns a word in double quotes, in which GRUB's shell leaves three
// characters their meaning.
func quoteTitle(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}

// quoteWord returns a word in which no character has a meaning to GRUB's shell.
func quoteWord(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if !isPlain(s[i]) {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isPlain(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80 || strings.IndexByte("%+,-./:=@^_~()!", c) >= 0
}

// quoteCmdline returns the words after a kernel's path that give it a command
// line. Two readers are between. The shell takes backslashes away; they are
// written where Talos writes them, since it does not expect others when it
// reads the file, and before spaces and comment signs. The command linux puts
// backslashes before quotes and backslashes (grub-core/lib/cmdline.c), so that
// the kernel cannot get these by any spelling.
func quoteCmdline(cmdline string) (string, error) {
	if i := strings.IndexAny(cmdline, `\'`); i >= 0 {
		return "", fmt.Errorf("the command line has a %c in %q: GRUB would give the kernel \\%[1]c", cmdline[i], cmdline)
	}
	var words []string
	for rest := cmdline; ; {
		var w string
		var err error
		if w, rest, err = cutParameter(rest); err != nil {
			return "", fmt.Errorf("the command line %q: %w", cmdline, err)
		}
		if w != "" {
			words = append(words, quoteParameter(w))
		}
		if rest == "" {
			return strings.Join(words, " "), nil
		}
	}
}

func quoteParameter(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte("{}&$|;<> ", s[i]) >= 0 || s[i] == '#' && i == 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// cutParameter takes the first word from a command line, and its quotes away, as
// the kernel does (lib/cmdline.c): they are around the word or around its value.
func cutParameter(cmdline string) (parameter, rest string, err error) {
	cmdline = strings.TrimLeft(cmdline, " ")
	quoted, end := false, 0
	for ; end < len(cmdline) && (quoted || cmdline[end] != ' '); end++ {
		quoted = quoted != (cmdline[end] == '"')
	}
	parameter, rest = cmdline[:end], cmdline[end:]
	inner := parameter
	key, value, ok := strings.Cut(parameter, "=")
	if n := len(value); ok && n >= 2 && value[0] == '"' && value[n-1] == '"' {
		inner = key + "=" + value[1:n-1]
	} else if n := len(parameter); n >= 2 && parameter[0] == '"' && parameter[n-1] == '"' {
		inner = parameter[1 : n-1]
	}
	if strings.Contains(inner, `"`) {
		return "", "", fmt.Errorf("double quotes in %q are neither around it nor around its value: GRUB cannot give them to the kernel", parameter)
	}
	return inner, rest, nil
}
