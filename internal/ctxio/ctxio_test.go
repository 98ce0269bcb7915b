package ctxio

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReader(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := NewReader(ctx, strings.NewReader("before and after"))
	head := make([]byte, len("before"))
	if _, err := io.ReadFull(r, head); err != nil || string(head) != "before" {
		t.Errorf("got %q, %v", head, err)
	}
	cancel()
	if rest, err := io.ReadAll(r); !errors.Is(err, context.Canceled) || len(rest) > 0 {
		t.Errorf("after the context has ended: got %q, %v, want nothing and its error", rest, err)
	}
}

func TestEnd(t *testing.T) {
	if all, err := io.ReadAll(NewReader(t.Context(), strings.NewReader("all"))); err != nil || string(all) != "all" {
		t.Errorf("got %q, %v", all, err)
	}
}
