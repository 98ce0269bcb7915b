package cpio

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// TestImage: what is planned has the bytes of what is written.
func TestImage(t *testing.T) {
	contents := map[string]string{"kernel/x86/a": "abc", "kernel/b": "", "c": strings.Repeat("x", 70000)}
	order := []string{"kernel/x86/a", "kernel/b", "c"}
	like := Header{Mode: 0o755}
	var want bytes.Buffer
	w := NewWriter(&want)
	var files []File
	for _, name := range order {
		data := contents[name]
		h := Header{Name: name, Mode: 0o644, Size: int64(len(data))}
		dir := name[:max(0, strings.LastIndex(name, "/"))]
		if dir == "" {
			dir = "."
		}
		if err := errors.Join(w.MkdirAll(dir, like), w.WriteHeader(&h)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Header{Name: name, Mode: 0o644}, sparse.Bytes([]byte(data))})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := Image(files, like)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(m.Reader())
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("got %d bytes, %v, want the %d that the Writer writes", len(got), err, want.Len())
	}
	big := File{Header{Name: "big", Mode: 0o644}, sparse.New(MaxFileSize + 1)}
	if _, err := Image([]File{big}, like); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
}
