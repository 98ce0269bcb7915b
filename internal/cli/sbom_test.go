package cli

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/graftlinux/graft/internal/inspect"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/tree"
)

// packedExtension puts an extension for two platforms into a place, and returns the
// digests of the index and of the image for linux/amd64.
func packedExtension(t *testing.T, dest string) (index, image string) {
	t.Helper()
	root := tree.New()
	manifest := "version: v1alpha1\nmetadata: {name: hello, version: 1.0.0, author: A, description: D}\n"
	for name, text := range map[string]string{"manifest.yaml": manifest, "rootfs/usr/local/share/hello.txt": "hello\n"} {
		if err := root.Put(name, tree.File(0o644, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	images := []oci.Packed{{Platform: oci.Platform{OS: "linux", Arch: "amd64"}, Tree: root}, {Platform: oci.Platform{OS: "linux", Arch: "arm64"}, Tree: root}}
	if _, err := oci.Pack(t.Context(), images, dest, oci.PackOptions{Name: "hello:1"}); err != nil {
		t.Fatal(err)
	}
	d, err := oci.Resolve(t.Context(), dest, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	img, err := oci.Open(t.Context(), dest, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	return d.Digest, img.Digest()
}

func cyclonedxOf(name string) []byte {
	return fmt.Appendf(nil, `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":%q,"version":"1","purl":"pkg:golang/example.org/%s@v1.0.0"}]}`, name, name)
}

// TestAttachedDocuments: what refers to the index and what refers to the image are
// both read; other artifacts are left alone, and a bad document is told of.
func TestAttachedDocuments(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	defer srv.Close()
	for name, dest := range map[string]string{
		"registry": strings.TrimPrefix(srv.URL, "http://") + "/me/hello:1",
		"layout":   "oci:" + filepath.Join(t.TempDir(), "layout"),
	} {
		t.Run(name, func(t *testing.T) {
			index, image := packedExtension(t, dest)
			d, err := oci.Resolve(t.Context(), dest, oci.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range []struct {
				digest, kind string
				data         []byte
			}{
				{index, sbom.TypeCycloneDX, cyclonedxOf("of-index")},
				{image, sbom.TypeCycloneDX, cyclonedxOf("of-image")},
				{image, sbom.TypeSPDX, []byte("{}")},
				{image, "application/vnd.example", []byte("?")},
				{image, typeOpenVEX, []byte(`{"@context":"https://openvex.dev/ns/v0.2.0","statements":[{"vulnerability":{"name":"CVE-1"},"products":[{"@id":"pkg:golang/example.org/of-image"}],"status":"fixed"}]}`)},
			} {
				subject := strings.TrimSuffix(d.Ref, d.Digest) + a.digest
				if _, err := oci.Attach(t.Context(), subject, oci.Artifact{Type: a.kind, Blobs: []oci.Blob{{MediaType: a.kind, Data: a.data}}}, oci.PackOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			bills, err := readBills(t.Context(), &sources{cacheDir: t.TempDir()}, []string{dest})
			if err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			if err := printBOM(&out, subjectOf(bills)); err != nil {
				t.Fatal(err)
			}
			tellProblems(&errs, bills)
			for _, want := range []string{"of-index ", "of-image "} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in\n%s", want, &out)
				}
			}
			if n := strings.Count(errs.String(), "\n"); n != 1 || !strings.Contains(errs.String(), "which refers to the image: it is neither SPDX") {
				t.Errorf("got %s", &errs)
			}
			subjects := subjectsOf(bills)
			ownVEX(&errs, bills, subjects)
			if got := subjects[0].VEX; len(got) != 1 {
				t.Errorf("got %d VEX documents, want 1", len(got))
			}
			if !slices.Contains(bills[0].identifiers, image) {
				t.Errorf("got the identifiers %q, want %q in them", bills[0].identifiers, image)
			}
		})
	}
}

// TestAllKnown: a part that could not be read is not taken for clean.
func TestAllKnown(t *testing.T) {
	read, damaged := inspect.Part{}, inspect.Part{Unknown: true}
	damaged.Name = "hello"
	if err := allKnown([]bill{{source: "a.iso", parts: []inspect.Part{read}}}); err != nil {
		t.Error(err)
	}
	err := allKnown([]bill{{source: "a.iso", parts: []inspect.Part{read, damaged}}})
	if err == nil || exitCode(err) != exitInvalid || !strings.Contains(err.Error(), "scanning a.iso: the extension hello could not be read") {
		t.Errorf("got %v", err)
	}
}
