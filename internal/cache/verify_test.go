package cache

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
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

// TestVerifiedBefore: a content that nobody touched is not read again on the
// same day.
func TestVerifiedBefore(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	c := open(t, dir)
	b, err := c.Make(ctx, "k", "label", text("one"))
	read(t, b, err)
	if b, err = c.MakeUnverified(ctx, "k", "label", never); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	state, err := b.state()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if b.check.remember(state, now); b.check.known(state, now) {
		t.Error("a file that was made just now is taken for verified: it may change in the same moment")
	}
	later := now.Add(time.Hour)
	if b.check.remember(state, later); !b.check.known(state, later) {
		t.Error("a file that was verified is to be verified again at once")
	}
	if b.check.known(state, now.Add(25*time.Hour)) {
		t.Error("a file that was verified yesterday is not to be verified today")
	}
	if err := os.WriteFile(only(t, dir, "blobs"), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := b.state(); err != nil || b.check.known(changed, later) {
		t.Errorf("a file that was changed is taken for verified (%v)", err)
	}
	if _, err := c.Prune(Limits{All: true}); err != nil || b.check.known(state, later) {
		t.Errorf("a file that was pruned is taken for verified (%v)", err)
	}
}
