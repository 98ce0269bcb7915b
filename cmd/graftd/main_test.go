package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMain runs the daemon in the place of the tests if a test wants it.
func TestMain(m *testing.M) {
	if os.Getenv("GRAFTD_TEST_SERVE") != "" {
		os.Exit(serve())
	}
	os.Exit(m.Run())
}

func graftd(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "GRAFTD_TEST_SERVE=1")
	return cmd
}

func TestServesAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "extensions.yaml")
	if err := os.WriteFile(file, []byte("layers: [{image: 0.sqsh}, {image: 1.sqsh}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := graftd(t, "--listen", "127.0.0.1:0", "--extensions", file)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "graftd: ready, serving on 127.0.0.1:") || !strings.HasSuffix(line, " (2 extensions)\n") {
		t.Errorf("got %q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want a normal end", err)
	}
}

func TestRefusesAMissingFile(t *testing.T) {
	out, err := graftd(t, "--extensions", filepath.Join(t.TempDir(), "missing")).CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "graftd: reading the extensions: ") {
		t.Errorf("got %v and %q", err, out)
	}
}
