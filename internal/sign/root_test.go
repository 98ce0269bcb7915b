package sign

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/graftlinux/graft/internal/testkit/sigstore"
)

// tufFiles is a TUF repository with one target, trusted_root.json.
func tufFiles(t *testing.T, target []byte) map[string][]byte {
	t.Helper()
	later := time.Now().Add(time.Hour)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer := must[signature.Signer](t)(signature.LoadSigner(private, crypto.Hash(0)))
	key := must[*metadata.Key](t)(metadata.KeyFromPublicKey(private.Public()))
	root, targets, snapshot, stamp := metadata.Root(later), metadata.Targets(later), metadata.Snapshot(later), metadata.Timestamp(later)
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		if err := root.Signed.AddKey(key, role); err != nil {
			t.Fatal(err)
		}
	}
	info, err := metadata.TargetFile().FromBytes("trusted_root.json", target, "sha256")
	if err != nil {
		t.Fatal(err)
	}
	targets.Signed.Targets["trusted_root.json"] = info
	_, err1 := root.Sign(signer)
	_, err2 := targets.Sign(signer)
	_, err3 := snapshot.Sign(signer)
	_, err4 := stamp.Sign(signer)
	files := map[string][]byte{fmt.Sprintf("/targets/%x.trusted_root.json", []byte(info.Hashes["sha256"])): target}
	var err5 [4]error
	files["/1.root.json"], err5[0] = root.ToBytes(false)
	files["/1.targets.json"], err5[1] = targets.ToBytes(false)
	files["/1.snapshot.json"], err5[2] = snapshot.ToBytes(false)
	files["/timestamp.json"], err5[3] = stamp.ToBytes(false)
	if err := errors.Join(err1, err2, err3, err4, err5[0], err5[1], err5[2], err5[3]); err != nil {
		t.Fatal(err)
	}
	return files
}

// TestFetchRoot gets the root from a repository of the test, keeps it for a
// day, and takes nothing that the first root does not vouch for.
func TestFetchRoot(t *testing.T) {
	files := tufFiles(t, sigstore.Start(t).TrustedRoot(t))
	other := tufFiles(t, sigstore.Start(t).TrustedRoot(t))
	served, asked := files, 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		data, ok := served[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(srv.Close)
	fetch := func(dir string) (*Root, error) {
		opts := &tuf.Options{Root: files["/1.root.json"], RepositoryBaseURL: srv.URL, CachePath: dir}
		return fetchRoot(t.Context(), opts)
	}
	dir := t.TempDir()
	must[*Root](t)(fetch(dir))
	asked = 0
	must[*Root](t)(fetch(dir))
	if asked != 0 {
		t.Errorf("a fresh copy was asked for again, %d times", asked)
	}
	var service *ServiceError
	served = other
	if _, err := fetch(t.TempDir()); !errors.As(err, &service) || !strings.Contains(err.Error(), "getting the trusted root from "+srv.URL) {
		t.Errorf("what another key signed: got %v", err)
	}
	tampered := map[string][]byte{}
	for name, data := range files {
		if strings.HasPrefix(name, "/targets/") {
			data = append([]byte(" "), data...)
		}
		tampered[name] = data
	}
	served = tampered
	if _, err := fetch(filepath.Join(t.TempDir(), "x")); !errors.As(err, &service) {
		t.Errorf("a changed target: got %v", err)
	}
}
