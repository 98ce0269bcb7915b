package node

import (
	"context"
	"io"
	"log/slog"
	"strings"
)

// NewLogger makes a logger that writes what a console shows best: a line per
// record, "graftd:" and the message, and no time, which the kernel knows.
func NewLogger(w io.Writer) *slog.Logger { return slog.New(lineHandler{w: w}) }

// lineHandler is the slog.Handler of NewLogger.
type lineHandler struct {
	w     io.Writer
	attrs string
}

func (h lineHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle writes one line: a message of several lines would not look like the
// daemon's.
func (h lineHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("graftd: ")
	b.WriteString(strings.ReplaceAll(r.Message, "\n", "; "))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(" " + a.String())
		return true
	})
	b.WriteByte('\n')
	_, err := io.WriteString(h.w, b.String())
	return err
}

func (h lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.attrs += " " + a.String()
	}
	return h
}

func (h lineHandler) WithGroup(string) slog.Handler { return h }
