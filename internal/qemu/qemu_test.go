package qemu

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func TestArgs(t *testing.T) {
	tests := map[string]Config{
		"amd64": {Arch: "amd64", Kernel: "vmlinuz", Initrd: "initramfs.xz"},
		"arm64": {Arch: "arm64", Kernel: "Image", Initrd: "initramfs.xz", Append: "quiet"},
		"kvm": {
			Arch: "amd64", Kernel: "a b", Initrd: "c", Append: "quiet console=tty0", Memory: 4096, CPUs: 8, Accel: KVM,
			Forwards: []Forward{{50000, 50000}, {8080, 80}},
		},
		"bios-disk": {Arch: "amd64", Drive: &Drive{File: "a,b.raw"}, Reboot: true},
		"uefi-iso":  {Arch: "amd64", Drive: &Drive{File: "a.iso", CD: true}, UEFI: &UEFI{Code: "CODE", Vars: "VARS"}},
		"secure-4k": {Arch: "amd64", Drive: &Drive{File: "a.qcow2", Format: "qcow2", SectorSize: 4096, Keep: true}, Reboot: true, UEFI: &UEFI{Code: "CODE", Vars: "VARS", SMM: true}},
		"arm64-iso": {Arch: "arm64", Drive: &Drive{File: "a.iso", CD: true}, UEFI: &UEFI{Code: "CODE", Vars: "VARS"}},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			args, err := c.Args()
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(args, "\n") + "\n"
			golden := filepath.Join("testdata", name+".args")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("command line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestArgsRefused(t *testing.T) {
	if _, err := (Config{Arch: "riscv64"}).Args(); !errors.Is(err, ErrArch) {
		t.Errorf("riscv64: got error %v, want %v", err, ErrArch)
	}
	if _, err := (Config{Arch: "amd64", Accel: "xen"}).Args(); err == nil || !strings.Contains(err.Error(), `"xen" is none of tcg, kvm, hvf`) {
		t.Errorf("accelerator xen: got error %v", err)
	}
}

func TestParseForward(t *testing.T) {
	tests := []struct {
		in   string
		want Forward
		ok   bool
	}{
		{"8080:80", Forward{8080, 80}, true},
		{"0:80", Forward{0, 80}, true},
		{":80", Forward{0, 80}, true},
		{"80", Forward{}, false},
		{"80:", Forward{}, false},
		{"80:0", Forward{}, false},
		{"80:65536", Forward{}, false},
		{"-1:80", Forward{}, false},
		{"127.0.0.1:80:80", Forward{}, false},
	}
	for _, tt := range tests {
		got, err := ParseForward(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseForward(%q): got %v, %v; want %v, ok = %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}

func TestResolve(t *testing.T) {
	f, err := Forward{Guest: 80}.Resolve()
	if err != nil || f.Host == 0 || f.Guest != 80 {
		t.Fatalf("got %v, %v; want a free port and 80", f, err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", f.Host))
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	l.Close()
	if got, err := f.Resolve(); got != f || err != nil {
		t.Errorf("a fixed port: got %v, %v; want %v", got, err, f)
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Config{Arch: "arm64"}, nil, nil)
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("got error %v, want a MissingError", err)
	}
	if want := "qemu-system-aarch64 is not installed"; !strings.Contains(err.Error(), want) {
		t.Errorf("got error %q, want one with %q", err, want)
	}
	if hint := missing.Hint(); !strings.Contains(hint, "apt-get install qemu-system-arm ") {
		t.Errorf("got hint %q", hint)
	}
}

// fakeQEMU puts a shell script in QEMU's place.
func fakeQEMU(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "qemu-system-x86_64")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestWait(t *testing.T) {
	tests := []struct {
		name, script, serial, want string
	}{
		{"switched off", "echo booted; cat", "booted\ninput\n", ""},
		{"refused", "echo 'could not load kernel' >&2; exit 1", "", "running qemu-system-x86_64: exit status 1: could not load kernel"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fakeQEMU(t, tt.script)
			var serial bytes.Buffer
			v, err := Start(t.Context(), Config{Arch: "amd64"}, strings.NewReader("input\n"), &serial)
			if err != nil {
				t.Fatal(err)
			}
			err = v.Wait()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasSuffix(err.Error(), tt.want)) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			if serial.String() != tt.serial {
				t.Errorf("got serial output %q, want %q", serial.String(), tt.serial)
			}
		})
	}
}

func TestEndsWithContext(t *testing.T) {
	fakeQEMU(t, "exec sleep 100")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	v, err := Start(ctx, Config{Arch: "amd64"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Wait(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
	}
}

// TestDiesWithParent kills a process that has started a machine in the way that
// gives it no time for anything. It is this test, run again as the child.
func TestDiesWithParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills the children of a process that was killed")
	}
	if os.Getenv("QEMU_TEST_PARENT") != "" {
		v, err := Start(t.Context(), Config{Arch: "amd64"}, nil, os.Stdout)
		if err != nil {
			t.Fatal(err)
		}
		t.Fatal(v.Wait())
	}
	fakeQEMU(t, "echo $$; exec sleep 100")
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiesWithParent$")
	parent.Env = append(os.Environ(), "QEMU_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscan(out, &child); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // says that it was killed
	for range 100 {
		if syscall.Kill(child, 0) == syscall.ESRCH {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the machine runs on without the process that started it")
}

func TestTail(t *testing.T) {
	var b tail
	for range 3 {
		b.Write(bytes.Repeat([]byte("x"), tailSize-1))
	}
	b.Write([]byte("the end"))
	if got := b.String(); len(got) != tailSize || !strings.HasSuffix(got, "xthe end") {
		t.Errorf("got %d bytes that end in %q", len(got), got[max(0, len(got)-10):])
	}
}

func TestCopyVars(t *testing.T) {
	dir := t.TempDir()
	template, own := filepath.Join(dir, "template"), filepath.Join(dir, "own")
	if err := os.WriteFile(template, []byte("new"), 0o444); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"new", "changed"} { // the second time it is there
		u, err := UEFI{Code: "c", Vars: template}.CopyVars(own)
		if err != nil || u.Vars != own || u.Code != "c" {
			t.Fatalf("got %+v, %v", u, err)
		}
		if got, err := os.ReadFile(own); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		if err := os.WriteFile(own, []byte("changed"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (UEFI{Vars: filepath.Join(dir, "absent")}).CopyVars(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a copy is left: %v", err)
	}
}

func TestFindUEFI(t *testing.T) {
	if _, err := FindUEFI("riscv64", false); !errors.Is(err, ErrArch) {
		t.Errorf("got %v, want %v", err, ErrArch)
	}
	dir := t.TempDir()
	found := UEFI{Code: filepath.Join(dir, "code"), Vars: filepath.Join(dir, "vars"), SMM: true}
	all := firmwares
	t.Cleanup(func() { firmwares = all })
	firmwares = map[string][]installed{"amd64": {
		{UEFI{Code: filepath.Join(dir, "code"), Vars: filepath.Join(dir, "missing")}, true}, // half of one
		{found, true},
	}}
	for _, file := range []string{found.Code, found.Vars} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if u, err := FindUEFI("amd64", true); u != found || err != nil {
		t.Errorf("Secure Boot: got %+v, %v, want %+v", u, err, found)
	}
	_, err := FindUEFI("amd64", false)
	var missing *MissingError
	if !errors.As(err, &missing) || !strings.Contains(missing.Hint(), "apt-get install ovmf ") {
		t.Errorf("got %v, want a MissingError with the package", err)
	}
}
