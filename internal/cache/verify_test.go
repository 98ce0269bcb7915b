package cache

import (
	"context"
	"errors"
	"os"
	"testing"
)

// TestUnverified: what is there is handed out unread, and judged by Verify.
func TestUnverified(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	c := open(t, dir)
	b, err := c.MakeUnverified(ctx, "k", "label", text("one"))
	if err := errors.Join(err, b.Verify(ctx)); err != nil { // it was just made
		t.Fatal(err)
	}
	read(t, b, nil)
	b, err = c.MakeUnverified(ctx, "k", "label", never)
	if err := errors.Join(err, b.Verify(ctx), b.Verify(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, b, nil); got != "one" {
		t.Errorf("got %q after Verify, want one", got)
	}

	if err := os.WriteFile(only(t, dir, "blobs"), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err = c.MakeUnverified(ctx, "k", "label", never); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(ctx); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want %v", err, ErrDamaged)
	}
	b.Close()
	b, err = c.MakeUnverified(ctx, "k", "label", text("one"))
	if got := read(t, b, err); got != "one" {
		t.Errorf("made again: got %q, want one", got)
	}

	if err := os.Truncate(only(t, dir, "blobs"), 1); err != nil {
		t.Fatal(err)
	}
	b, err = c.MakeUnverified(ctx, "k", "label", text("one")) // its size tells
	if got := read(t, b, err); got != "one" {
		t.Errorf("cut off: got %q, want one", got)
	}
}

func TestVerifyInterrupted(t *testing.T) {
	c := open(t, t.TempDir())
	b, err := c.Make(t.Context(), "k", "label", text("one"))
	read(t, b, err)
	if b, err = c.MakeUnverified(t.Context(), "k", "label", never); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
