package grub

import (
	"errors"
	"strings"
)

// The kinds of tokens. Braces are what they are; the other characters that end a
// command are all one.
const (
	endOfFile    = 0
	endOfCommand = ';'
	word         = 'w'
)

type token struct {
	kind byte
	text string // of a word, without its quotes
}

// lexer splits a script for GRUB's shell into words and what is between them.
type lexer struct {
	rest string
	line int
}

func (l *lexer) next() (token, error) {
	l.skip()
	if l.rest == "" {
		return token{kind: endOfFile}, nil
	}
	switch c := l.rest[0]; c {
	case '\n', ';', '|', '&', '<', '>':
		l.take(1)
		return token{kind: endOfCommand}, nil
	case '{', '}':
		l.take(1)
		return token{kind: c}, nil
	}
	text, err := l.word()
	return token{word, text}, err
}

// take returns the next bytes and goes past them.
func (l *lexer) take(n int) string {
	text := l.rest[:n]
	l.rest = l.rest[n:]
	l.line += strings.Count(text, "\n")
	return text
}

// skip goes past blanks, comments and lines that are continued.
func (l *lexer) skip() {
	for l.rest != "" {
		switch {
		case strings.IndexByte(" \t\r", l.rest[0]) >= 0:
			l.take(1)
		case strings.HasPrefix(l.rest, "\\\n"):
			l.take(2)
		case l.rest[0] == '#':
			end := strings.IndexByte(l.rest, '\n')
			if end < 0 {
				end = len(l.rest)
			}
			l.take(end)
		default:
			return
		}
	}
}

// word reads a word, of which parts may be quoted.
func (l *lexer) word() (string, error) {
	var b strings.Builder
	for l.rest != "" && strings.IndexByte(" \t\r\n;|&<>{}", l.rest[0]) < 0 {
		if err := l.part(&b); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// part reads the next character of a word, or all to the end of a quotation.
func (l *lexer) part(b *strings.Builder) error {
	switch {
	case strings.HasPrefix(l.rest, "${"):
		end := strings.IndexAny(l.rest, "}\n")
		if end < 0 || l.rest[end] == '\n' {
			return errors.New("the name of a variable has no end")
		}
		b.WriteString(l.take(end + 1))
	case l.rest[0] == '\'':
		end := strings.IndexByte(l.rest[1:], '\'')
		if end < 0 {
			return errors.New("a single quote has no end")
		}
		b.WriteString(l.take(end + 2)[1 : end+1])
	case l.rest[0] == '"':
		l.take(1)
		return l.quoted(b)
	case l.rest[0] == '\\':
		if escaped := l.take(min(2, len(l.rest)))[1:]; escaped != "\n" {
			b.WriteString(escaped)
		}
	default:
		b.WriteString(l.take(1))
	}
	return nil
}

// quoted reads to the end of double quotes.
func (l *lexer) quoted(b *strings.Builder) error {
	for {
		end := strings.IndexAny(l.rest, "\"\\")
		if end < 0 {
			return errors.New("a double quote has no end")
		}
		b.WriteString(l.take(end))
		switch {
		case l.rest[0] == '"':
			l.take(1)
			return nil
		case len(l.rest) > 1 && strings.IndexByte("\"\\$", l.rest[1]) >= 0:
			b.WriteString(l.take(2)[1:])
		case strings.HasPrefix(l.rest, "\\\n"):
			l.take(2)
		default:
			b.WriteString(l.take(1))
		}
	}
}
