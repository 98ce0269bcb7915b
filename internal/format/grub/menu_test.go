package grub

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

func TestDiskMenu(t *testing.T) {
	m := DiskMenu(Slot{"B", "v1.14.0", "talos.platform=metal console=tty0"}, &Slot{"A", "v1.13.9", "quiet"})
	got, err := m.Config()
	if err != nil {
		t.Fatal(err)
	}
	const want = `set default="B - Talos v1.14.0"
set fallback="A - Talos v1.13.9"
set timeout=3

insmod all_video

terminal_input console
terminal_output console

menuentry "B - Talos v1.14.0" {
  set gfxmode=auto
  set gfxpayload=text
  linux /B/vmlinuz talos.platform=metal console=tty0
  initrd /B/initramfs.xz
}

menuentry "A - Talos v1.13.9" {
  set gfxmode=auto
  set gfxpayload=text
  linux /A/vmlinuz quiet
  initrd /A/initramfs.xz
}

menuentry "Reset Talos installation and return to maintenance mode" {
  set gfxmode=auto
  set gfxpayload=text
  linux /B/vmlinuz talos.platform=metal console=tty0 talos.experimental.wipe=system:EPHEMERAL,STATE
  initrd /B/initramfs.xz
}
`
	if diff := gocmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	back, err := ParseConfig(got)
	if diff := gocmp.Diff(m, back); err != nil || diff != "" {
		t.Errorf("read back: %v, -want +got:\n%s", err, diff)
	}
}

func TestISOMenu(t *testing.T) {
	got, err := ISOMenu("talos.platform=metal").Config()
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for line := range strings.Lines(string(got)) {
		if strings.HasPrefix(line, "set") || strings.Contains(line, "menuentry") || strings.Contains(line, "/boot/") {
			shown = append(shown, line)
		}
	}
	const want = `set timeout=3
menuentry "Talos ISO" {
  linux /boot/vmlinuz talos.platform=metal
  initrd /boot/initramfs.xz
menuentry "Reset Talos installation" {
  linux /boot/vmlinuz talos.platform=metal talos.experimental.wipe=system
  initrd /boot/initramfs.xz
`
	if diff := gocmp.Diff(want, strings.Join(shown, "")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// cmdlines are command lines of kernels, how they are written in a grub.cfg and
// how they arrive, if otherwise.
var cmdlines = []struct{ cmdline, written, arrives string }{
	{"", "", ""},
	{"ro", "ro", ""},
	{"console=ttyS0,115200n8 ip=10.0.0.1::10.0.0.2:255.255.255.0:a_b:eth0", "console=ttyS0,115200n8 ip=10.0.0.1::10.0.0.2:255.255.255.0:a_b:eth0", ""},
	{"talos.config=https://h/?a=1&b=${uuid}", `talos.config=https://h/?a=1\&b=\$\{uuid\}`, ""},
	{"a;b|c<d>e", `a\;b\|c\<d\>e`, ""},
	{`dyndbg="file a.c +p" x`, `dyndbg=file\ a.c\ +p x`, `"dyndbg=file a.c +p" x`},
	{`"dyndbg=file a.c +p"`, `dyndbg=file\ a.c\ +p`, ""},
	{`a="b" "c" d="" ""`, `a=b c d=`, "a=b c d="},
	{"#a b#c", `\#a b#c`, ""},
	{"  two  spaces and more ", "two spaces and more", "two spaces and more"},
	{"glob=/*?[a]* [ ! ]", "glob=/*?[a]* [ ! ]", ""},
	{"key=ä", "key=ä", ""},
	{"(hd0) ~ ! `x` %^@", "(hd0) ~ ! `x` %^@", ""},
}

func cmdlineMenu() *Menu {
	m := &Menu{Timeout: -1}
	for i, c := range cmdlines {
		m.Entries = append(m.Entries, Entry{Title: fmt.Sprintf("entry %d", i), Kernel: "/vmlinuz", Cmdline: cmp.Or(c.arrives, c.cmdline)})
	}
	m.Default = "entry 1"
	return m
}

func TestCmdlines(t *testing.T) {
	for _, c := range cmdlines {
		m := &Menu{Entries: []Entry{{Title: "a", Kernel: "/k", Cmdline: c.cmdline}}}
		cfg, err := m.Config()
		if err != nil {
			t.Fatal(err)
		}
		if want := "  linux " + strings.TrimRight("/k "+c.written, " ") + "\n"; !strings.Contains(string(cfg), want) {
			t.Errorf("%q: no %q in\n%s", c.cmdline, want, cfg)
		}
		got, err := ParseConfig(cfg)
		if want := cmp.Or(c.arrives, c.cmdline); err != nil || got.Entries[0].Cmdline != want {
			t.Errorf("%q is read as %q, %v", c.cmdline, got.Entries[0].Cmdline, err)
		}
	}
	for _, bad := range []string{`a\b`, "it's", `a"b c"`, `a="b" "`, `a="b"c"d"`} {
		if got, err := quoteCmdline(bad); err == nil {
			t.Errorf("%q: got %s and no error", bad, got)
		}
	}
}

// awkward is a menu of names that no one would choose.
func awkward() *Menu {
	title := "A - \"Talos\" \\ $v1 ${x} {b};|& 'c' # ü *"
	return &Menu{Default: title, Timeout: 10, Entries: []Entry{
		{Title: title, Kernel: "(hd0,gpt3)/a b/'c'$d{e}*\\f\"", Initrds: []string{"/a;b", "/c #d"}},
		{Title: "{", Kernel: "/k"},
	}}
}

func TestScriptCheck(t *testing.T) {
	for _, m := range []*Menu{awkward(), cmdlineMenu(), ISOMenu("a"), DiskMenu(Slot{"A", "v1", "x"}, nil)} {
		cfg, err := m.Config()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseConfig(cfg)
		if diff := gocmp.Diff(m, got); err != nil || diff != "" {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
		path := filepath.Join(t.TempDir(), "grub.cfg")
		if err := os.WriteFile(path, cfg, 0o644); err != nil {
			t.Fatal(err)
		}
		testkit.Run(t, "grub-script-check", path)
	}
}

func TestBadMenu(t *testing.T) {
	good := Entry{Title: "a", Kernel: "/k"}
	for want, change := range map[string]func(m *Menu){
		"the command line has a '": func(m *Menu) { m.Entries[0].Cmdline = "a'b" },
		`no entry is called "b"`:   func(m *Menu) { m.Default = "b" },
		`no entry is called "c"`:   func(m *Menu) { m.Fallback = "c" },
		"is there twice":           func(m *Menu) { m.Entries = append(m.Entries, good) },
		"digit":                    func(m *Menu) { m.Entries[0].Title = "1 a" },
		"submenu":                  func(m *Menu) { m.Entries[0].Title = "a > b" },
		"no kernel":                func(m *Menu) { m.Entries[0].Kernel = "" },
		"of the form /path":        func(m *Menu) { m.Entries[0].Initrds = []string{"x"} },
		"control character":        func(m *Menu) { m.Entries[0].Cmdline = "a\nb" },
	} {
		m := &Menu{Entries: []Entry{good}}
		change(m)
		if _, err := m.Config(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestForeignConfig reads what a distribution writes.
func TestForeignConfig(t *testing.T) {
	const cfg = `
if [ -s $prefix/grubenv ]; then load_env; fi
set default="${saved_entry}"
function recordfail { set recordfail=1; if [ -n x ]; then echo "a}b"; fi }
if [ x$feature = xy ] ; then
  set timeout_style=menu
  set timeout=5
fi
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced' {
  menuentry 'Linux 6.1, it'\''s old' --class debian --class os --unrestricted $menuentry_id_option 'x' {
	search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt1 0000
	echo 'Loading Linux ...' # {
	linux	/vmlinuz root=UUID=1 ro talos="a b" \
	    \"x\"
	initrd	/a.img /b.img
  }
}
menuentry --class x "UEFI Firmware Settings" { fwsetup }
`
	got, err := ParseConfig([]byte(cfg))
	want := &Menu{Default: "${saved_entry}", Timeout: 5, Entries: []Entry{
		{"Linux 6.1, it's old", "/vmlinuz", []string{"/a.img", "/b.img"}, `root=UUID=1 ro "talos=a b" \"x\"`},
		{Title: "UEFI Firmware Settings"},
	}}
	if diff := gocmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestBadConfig(t *testing.T) {
	for cfg, want := range map[string]string{
		"a\nb 'c":                        "line 2: a single quote",
		"\"\\":                           "a double quote",
		"}":                              "closes nothing",
		"menuentry a {":                  "brace is missing",
		"menuentry {":                    "no title",
		"menuentry --class {":            "no title",
		"menuentry a { menuentry b {":    "inside of another",
		"${a\n}":                         "no end",
		strings.Repeat("#", maxConfig+1): "at most",
	} {
		if _, err := ParseConfig([]byte(cfg)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", cfg, err, want)
		}
	}
}

// FuzzParseConfig reads anything, and what it read of a proper menu again.
func FuzzParseConfig(f *testing.F) {
	for _, m := range []*Menu{awkward(), cmdlineMenu(), ISOMenu("a")} {
		cfg, err := m.Config()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(cfg)
	}
	f.Add([]byte("set a='\nmenuentry \"a\" --id b {\nlinux /a ${b} \\\n}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseConfig(data)
		if err != nil {
			return
		}
		for i, e := range m.Entries { // quotes and spaces are written as GRUB has them
			if words, err := quoteCmdline(e.Cmdline); err == nil {
				cfg := "menuentry a {\nlinux /k " + words + "\n}"
				if again, err := ParseConfig([]byte(cfg)); err == nil {
					m.Entries[i].Cmdline = again.Entries[0].Cmdline
				}
			}
		}
		cfg, err := m.Config()
		if err != nil {
			return
		}
		again, err := ParseConfig(cfg)
		if diff := gocmp.Diff(m, again); err != nil || diff != "" {
			t.Errorf("%v, -want +got:\n%s\n%s", err, diff, cfg)
		}
	})
}
