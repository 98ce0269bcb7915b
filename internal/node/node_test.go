package node

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/resource"
)

// lineLog gives what is logged to a channel, line by line.
type lineLog chan string

func (l lineLog) Write(b []byte) (int, error) {
	l <- strings.TrimSuffix(string(b), "\n")
	return len(b), nil
}

func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lines, done := make(lineLog, 10), make(chan error, 1)
	layers := []extension.Layer{{Image: "0.sqsh"}, {Image: "0.sqsh"}, {Image: "1.sqsh"}}
	go func() { done <- Serve(ctx, NewLogger(lines), "127.0.0.1:0", layers) }()
	if got := <-lines; !strings.HasPrefix(got, `graftd: adding layer 1 ("0.sqsh"): `) {
		t.Errorf("got %q, want to hear of the second 0.sqsh", got)
	}
	ready := regexp.MustCompile(`^graftd: ready, serving on (127\.0\.0\.1:\d+) \(2 extensions\)$`)
	line := <-lines
	match := ready.FindStringSubmatch(line)
	if match == nil {
		t.Fatalf("got %q, want %s", line, ready)
	}
	e, err := resource.ParseEndpoint(match[1])
	if err != nil {
		t.Fatal(err)
	}
	c, err := resource.Dial(ctx, e, resource.Insecure(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	items, err := c.List(ctx, resource.RuntimeNamespace, resource.ExtensionStatusType)
	if err != nil || len(items) != 2 {
		t.Errorf("got %d extensions and %v, want 2", len(items), err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Serve does not end")
	}
}

func TestServeRefusesAddress(t *testing.T) {
	err := Serve(t.Context(), NewLogger(io.Discard), "256.0.0.1:0", nil)
	if err == nil || !strings.HasPrefix(err.Error(), "listening for clients: ") {
		t.Errorf("got %v, want an error about listening", err)
	}
}

func TestLayers(t *testing.T) {
	write := func(content string) string {
		name := filepath.Join(t.TempDir(), "extensions.yaml")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, tt := range []struct {
		content string
		want    []extension.Layer
	}{
		{"", nil},
		{"layers: []\n", []extension.Layer{}},
		{"layers: [{image: 0.sqsh, metadata: {name: a}}]\n", []extension.Layer{{Image: "0.sqsh", Metadata: extension.Metadata{Name: "a"}}}},
	} {
		got, err := Layers(write(tt.content))
		if err != nil {
			t.Errorf("%q: %v", tt.content, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.content, diff)
		}
	}
	for name, want := range map[string]string{
		filepath.Join(t.TempDir(), "missing"):                 "no such file",
		write("layers: ["):                                    "extensions.yaml: parsing extensions.yaml",
		write(strings.Repeat("#", extension.MaxConfigSize+1)): "more than",
	} {
		if _, err := Layers(name); err == nil || !strings.HasPrefix(err.Error(), "reading the extensions: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error that says %q", name, err, want)
		}
	}
}
