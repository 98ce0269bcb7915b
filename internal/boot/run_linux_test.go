package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/extension"
)

func TestLayers(t *testing.T) {
	tests := []struct {
		layers   int
		oneByOne bool
	}{{1, false}, {1, true}, {2, false}, {2, true}, {40, false}, {40, true}, {300, true}, {470, false}, {501, true}}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d layers, one by one %v", tt.layers, tt.oneByOne), func(t *testing.T) {
			if tt.layers > 40 && testing.Short() {
				t.Skip("making hundreds of images takes seconds")
			}
			inInitramfs(t, func(t *testing.T) { testLayers(t, tt.layers, tt.oneByOne) })
		})
	}
}

func testLayers(t *testing.T, layers int, oneByOne bool) {
	c := putLayers(t, layers)
	putConfig(t, c)
	logged, err := bootUpTo(t, func(f *Facts) {
		if oneByOne && !f.LowerdirAdd {
			t.Skip("this kernel is older than 6.7")
		}
		f.LowerdirAdd = oneByOne
	})
	if err != nil {
		t.Fatal(err)
	}
	checkFile(t, "/top", fmt.Sprint("layer ", layers-1)) // the last listed wins
	for i := range layers {
		checkFile(t, fmt.Sprintf("/usr/local/%d", i), fmt.Sprint("file of ", i))
		if line := fmt.Sprintf("<6>graft-init: enabling system extension ext%d v1.0\n", i); !strings.Contains(logged, line) {
			t.Errorf("the log lacks %q", line)
		}
	}
	checkFile(t, "/etc/os-release", "base")
	checkReadOnly(t, "/")
	checkReadOnly(t, "/usr/local")
	want := []string{
		"/ ro,relatime overlay",
		"/dev rw,nosuid,relatime devtmpfs",
		"/etc/extensions.yaml ro,nosuid,nodev,relatime tmpfs",
		"/proc rw,nosuid,nodev,noexec,relatime proc",
		"/sys rw,nosuid,nodev,noexec,relatime sysfs",
	}
	if diff := cmp.Diff(want, mounts(t)); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	data, err := os.ReadFile("/etc/extensions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := extension.ParseConfig(data)
	if diff := cmp.Diff(c, got); err != nil || diff != "" {
		t.Errorf("/etc/extensions.yaml: %v (-want +got):\n%s", err, diff)
	}
}

func checkReadOnly(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing in %s: got %v, want %v", dir, err, unix.EROFS)
	}
}

func TestBaseAlone(t *testing.T) {
	for name, config := range map[string]string{"no list": "", "empty list": "layers: []\n"} {
		t.Run(name, func(t *testing.T) {
			inInitramfs(t, func(t *testing.T) {
				squash(t, RootImage, baseFiles())
				if config != "" {
					put(t, configFile, config)
				}
				if _, err := bootUpTo(t, nil); err != nil {
					t.Fatal(err)
				}
				checkFile(t, "/top", "base")
				checkFile(t, "/etc/extensions.yaml", config)
				checkReadOnly(t, "/")
				if m := mounts(t); m[0] != "/ ro,relatime squashfs" {
					t.Errorf("got mounts %q, want a squashfs as root", m)
				}
			})
		})
	}
}

// TestOtherImages boots what upstream's tools would have made.
func TestOtherImages(t *testing.T) {
	inInitramfs(t, func(t *testing.T) {
		c := putLayers(t, 2)
		for i, name := range []string{"000.ghcr.io-siderolabs-gvisor-20220117.0-v1.0.0.sqsh", "modules.dep.sqsh"} {
			if err := os.Rename("/"+c.Layers[i].Image, "/"+name); err != nil {
				t.Fatal(err)
			}
			c.Layers[i].Image = name
		}
		putConfig(t, c)
		if _, err := bootUpTo(t, nil); err != nil {
			t.Fatal(err)
		}
		checkFile(t, "/usr/local/0", "file of 0")
		checkFile(t, "/top", "layer 1")
	})
}

func TestFirmware(t *testing.T) {
	tests := []struct {
		name string
		in   []string // firmware of the initramfs
		link bool     // /lib of the initramfs leads to /usr/lib
		base func(files)
		want files  // in the root
		err  string // or this
	}{
		{name: "merged usr", in: []string{"/usr/lib/firmware/a/fw.bin"}, want: files{"/usr/lib/firmware/a/fw.bin": "", "/lib/firmware/a/fw.bin": ""}},
		{name: "merged usr in both", in: []string{"/usr/lib/firmware/fw.bin"}, link: true, want: files{"/lib/firmware/fw.bin": ""}},
		{name: "lib leads to usr", in: []string{"/lib/firmware/fw.bin"}, want: files{"/usr/lib/firmware/fw.bin": ""}},
		{name: "separate lib", in: []string{"/lib/firmware/fw.bin"},
			base: func(f files) { f["lib"], f["lib/firmware"] = "dir", "dir" }, want: files{"/lib/firmware/fw.bin": ""}},
		{name: "absolute link", in: []string{"/lib/firmware/fw.bin"},
			base: func(f files) { f["lib"] = "-> /usr/lib" }, want: files{"/usr/lib/firmware/fw.bin": ""}},
		{name: "two directories", in: []string{"/lib/firmware/a", "/usr/lib/firmware/b"},
			base: func(f files) { f["lib"], f["lib/firmware"] = "dir", "dir" },
			want: files{"/lib/firmware/a": "", "/usr/lib/firmware/b": ""}},
		{name: "two directories for one", in: []string{"/lib/firmware/a", "/usr/lib/firmware/b"},
			err: "binding /usr/lib/firmware to /root/usr/lib/firmware: something is bound there already"},
		{name: "no place", in: []string{"/usr/lib/firmware/a"}, base: func(f files) { delete(f, "usr/lib/firmware"); f["usr/lib"] = "dir" },
			err: "binding /usr/lib/firmware to /root/usr/lib/firmware: finding /usr/lib/firmware in the root filesystem: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inInitramfs(t, func(t *testing.T) {
				if tt.link {
					if err := os.Symlink("usr/lib", "/lib"); err != nil {
						t.Fatal(err)
					}
				}
				for _, name := range tt.in {
					put(t, name, "firmware")
				}
				base := baseFiles()
				if tt.base != nil {
					tt.base(base)
				}
				squash(t, RootImage, base)
				_, err := bootUpTo(t, nil)
				checkError(t, err, tt.err)
				for name := range tt.want {
					checkFile(t, name, "firmware")
					checkReadOnly(t, filepath.Dir(name))
				}
			})
		})
	}
}

// checkError wants an error with the text and with advice, or none.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("got error %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Fatalf("got error %v, want %q", err, want)
	case want != "" && adviceFor(err) == "":
		t.Errorf("error %v comes without advice", err)
	}
}

// TestBareRoot has a root without the optional places.
func TestBareRoot(t *testing.T) {
	inInitramfs(t, func(t *testing.T) {
		putConfig(t, putLayers(t, 1))
		squash(t, RootImage, files{"dev": "dir", "proc": "dir", "sys": "dir"})
		put(t, "/.extra/data", "extra")
		logged, err := bootUpTo(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"etc/extensions.yaml", ".extra"} {
			if !strings.Contains(logged, "<4>graft-init: the root filesystem has no /"+name) {
				t.Errorf("the log does not say that /%s is missing:\n%s", name, logged)
			}
		}
	})
}

func TestExtra(t *testing.T) {
	inInitramfs(t, func(t *testing.T) {
		base := baseFiles()
		base[".extra"] = "dir"
		squash(t, RootImage, base)
		put(t, "/.extra/credentials/x", "secret")
		if _, err := bootUpTo(t, nil); err != nil {
			t.Fatal(err)
		}
		checkFile(t, "/.extra/credentials/x", "secret")
		checkReadOnly(t, "/.extra")
	})
}

func TestDigests(t *testing.T) {
	wrong := "sha256:" + strings.Repeat("0", 64)
	for _, bad := range []int{-1, 0, 2} {
		t.Run(fmt.Sprint("bad ", bad), func(t *testing.T) {
			inInitramfs(t, func(t *testing.T) {
				c := putLayers(t, 3)
				for i := range c.Layers {
					l := &c.Layers[i]
					l.Digest = squash(t, "/"+l.Image, files{fmt.Sprint("usr/", i): ""})
					if i == bad {
						l.Digest = wrong
					}
				}
				putConfig(t, c)
				want := ""
				if bad >= 0 {
					want = fmt.Sprintf("verifying 3 layers: /%d.sqsh is not what /extensions.yaml says", bad)
				}
				_, err := bootUpTo(t, nil)
				checkError(t, err, want)
				if m := mounts(t); bad >= 0 && slices.ContainsFunc(m, func(s string) bool { return strings.Contains(s, "squashfs") }) {
					t.Errorf("something was mounted: %q", m)
				}
			})
		})
	}
}

func TestBadInitramfs(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T)
		want   string
	}{
		{"damaged layer", func(t *testing.T) { put(t, "/1.sqsh", strings.Repeat("x", 8192)) },
			"enabling system extension ext1 v1.0 (/1.sqsh): invalid argument"},
		{"empty layer", func(t *testing.T) { put(t, "/1.sqsh", "") }, "enabling system extension ext1 v1.0 (/1.sqsh): "},
		{"damaged root", func(t *testing.T) { put(t, RootImage, "x") }, "mounting /rootfs.sqsh at /layers/root: "},
		{"no YAML", func(t *testing.T) { put(t, configFile, "layers: 7\n") }, "parsing extensions.yaml: "},
		{"huge YAML", func(t *testing.T) { put(t, configFile, strings.Repeat("#", extension.MaxConfigSize+1)) }, "/extensions.yaml has 16777217 bytes"},
		{"no place for /dev", func(t *testing.T) { squash(t, RootImage, files{"proc": "dir", "sys": "dir"}) },
			"moving /dev to /root/dev: finding /dev in the root filesystem: no such file"},
		{"/proc is a file", func(t *testing.T) { squash(t, RootImage, files{"dev": "dir", "sys": "dir", "proc": ""}) },
			"moving /proc to /root/proc: finding /proc in the root filesystem: not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inInitramfs(t, func(t *testing.T) {
				putConfig(t, putLayers(t, 2))
				tt.change(t)
				_, err := bootUpTo(t, nil)
				checkError(t, err, tt.want)
			})
		})
	}
}

func TestFree(t *testing.T) {
	inInitramfs(t, func(t *testing.T) {
		initramfs, err := os.Open("/") // the way back
		if err != nil {
			t.Fatal(err)
		}
		defer initramfs.Close()
		putConfig(t, putLayers(t, 2))
		put(t, "/lib/init-modules/not-loaded-here", "")
		put(t, "/usr/lib/firmware/fw.bin", "firmware")
		put(t, "/deep/er/file", "")
		if _, err := bootUpTo(t, nil); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(initramfs.Chdir(), unix.Chroot(".")); err != nil {
			t.Fatal(err)
		}
		var left []string
		err = fs.WalkDir(os.DirFS("/"), ".", func(name string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				left = append(left, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"extensions.yaml", "usr/lib/firmware/fw.bin"}, left); diff != "" {
			t.Errorf("files left (-want +got):\n%s", diff)
		}
	})
}

// TestFreeRefuses has a root that is in memory and yet no initramfs.
func TestFreeRefuses(t *testing.T) {
	inInitramfs(t, func(t *testing.T) {
		put(t, "/precious", "file")
		if err := os.Remove("/init"); err != nil {
			t.Fatal(err)
		}
		if err := (Free{}).run(nil); err == nil || !strings.Contains(err.Error(), "/ is no initramfs") {
			t.Errorf("got error %v, want a refusal", err)
		}
		checkFile(t, "/precious", "file")
	})
}

func TestHostIsNoInitramfs(t *testing.T) {
	if _, err := initramfsDevice(); err == nil {
		t.Error("the root of this machine is taken for an initramfs")
	}
}

func TestModules(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"not a module", "0.ko", "loading module /lib/init-modules/0.ko: exec format error"},
		{"compressed", "0.ko.xz", "/lib/init-modules/0.ko.xz is no .ko file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inInitramfs(t, func(t *testing.T) {
				put(t, ModuleDir+"/"+tt.file, "not a module")
				_, err := (&machine{log: &log{}}).plan()
				if err != nil && strings.Contains(err.Error(), unix.ENOSYS.Error()) {
					t.Skip("this kernel has no modules")
				}
				checkError(t, err, tt.want)
			})
		})
	}
}

func TestAttachLoop(t *testing.T) {
	inInitramfs(t, func(t *testing.T) {
		if err := (MountPseudo{"devtmpfs", "/dev"}).run(nil); err != nil {
			t.Fatal(err)
		}
		put(t, "/image", strings.Repeat("x", 4096))
		dev, err := attachLoop("/image")
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		if want := uint32(unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR); info.Flags != want {
			t.Errorf("got flags %#x, want %#x", info.Flags, want)
		}
		if got := unix.ByteSliceToString(info.File_name[:]); got != "/image" {
			t.Errorf("got file name %q", got)
		}
		if err := os.WriteFile(dev.Name(), []byte("y"), 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("writing to the device: got %v, want %v", err, unix.EPERM)
		}
		if err := os.Remove("/image"); err != nil {
			t.Fatal(err)
		}
		if _, err := attachLoop("/image"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("attaching a file that is gone: got %v", err)
		}
	})
}
