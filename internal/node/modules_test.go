package node

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/kmod"
)

func textFS(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return fsys
}

func TestConfiguredModules(t *testing.T) {
	root := textFS(map[string]string{
		"etc/modules-load.d/b.conf":           "from_etc\n",
		"usr/lib/modules-load.d/b.conf":       "hidden\n",
		"usr/local/lib/modules-load.d/a.conf": "# comment\n; too\n\n  from_extension  \nfirst\n",
		"usr/lib/modules-load.d/c.conf":       "last",
		"usr/lib/modules-load.d/readme":       "no",
	})
	got, err := configuredModules(root, parseCmdline("modules_load=first,second modules-load=third,,second"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"first", "second", "third", "from_extension", "from_etc", "last"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

func TestConfiguredModulesGoesOn(t *testing.T) {
	root := textFS(map[string]string{
		"etc/modules-load.d/a.conf": strings.Repeat("x", maxModulesLoad+1),
		"etc/modules-load.d/b.conf": "good\n",
	})
	got, err := configuredModules(root, nil)
	if err == nil || !strings.Contains(err.Error(), "a.conf: more than") {
		t.Errorf("got error %v, want one about a.conf", err)
	}
	if diff := cmp.Diff([]string{"good"}, got); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

func TestDeviceAliases(t *testing.T) {
	sys := textFS(map[string]string{
		"devices/pci0000:00/0000:00:02.0/modalias":         "pci:v00001AF4d00001041\n",
		"devices/pci0000:00/0000:00:02.0/virtio0/modalias": "virtio:d00000001v00001AF4\n",
		"devices/pci0000:00/0000:00:03.0/modalias":         "pci:v00001AF4d00001041\n",
		"devices/empty/modalias":                           "\n",
		"devices/pci0000:00/uevent":                        "no",
		"bus/modalias":                                     "no",
	})
	want := []string{"pci:v00001AF4d00001041", "virtio:d00000001v00001AF4"}
	if diff := cmp.Diff(want, deviceAliases(sys)); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
}

// loaderFor makes a loader whose kernel refuses the modules in broken.
func loaderFor(t *testing.T, broken string, parameters func(string)) *loader {
	t.Helper()
	index, err := kmod.LoadIndex(textFS(map[string]string{
		"modules.dep": "kernel/virtio_net.ko: kernel/net_failover.ko kernel/virtio.ko\nkernel/net_failover.ko:\nkernel/virtio.ko:\n" +
			"kernel/virtio_pci.ko: kernel/virtio.ko\nkernel/broken.ko:\nkernel/picky.ko:\nkernel/needs_broken.ko: kernel/broken.ko\n",
		"modules.alias":   "alias pci:v00001AF4d*sv* virtio_pci\nalias virtio:d00000001v* virtio_net\nalias usb:* broken\nalias cpu:* picky\n",
		"modules.softdep": "softdep virtio_pci pre: broken\n",
		"modules.builtin": "kernel/builtin.ko\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	return newLoader(index, func(l kmod.Load) error {
		if parameters != nil {
			parameters(l.Path)
		}
		switch l.Name {
		case broken:
			return errors.New("exec format error")
		case "picky":
			return fmt.Errorf("%s: %w", l.Path, syscall.ENODEV)
		}
		return nil
	})
}

func TestLoadForDevices(t *testing.T) {
	var inserted []string
	l := loaderFor(t, "broken", func(path string) { inserted = append(inserted, path) })
	// The bus driver makes the network device appear.
	rounds := 0
	err := l.loadForDevices(func() []string {
		rounds++
		aliases := []string{"acpi:nobody", "pci:v00001AF4d1041sv0", "usb:v1", "usb:v2", "cpu:x"}
		if len(l.loaded) > 0 {
			aliases = append(aliases, "virtio:d00000001v00001AF4")
		}
		return aliases
	})
	if want := "loading module broken: exec format error"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	if diff := cmp.Diff([]string{"virtio", "virtio_pci", "net_failover", "virtio_net"}, l.loaded, cmp.Transformer("sorted", sorted)); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	if last := l.loaded[len(l.loaded)-1]; last != "virtio_net" {
		t.Errorf("got %s last, want virtio_net: it needs the others", last)
	}
	if rounds != 3 {
		t.Errorf("looked %d times, want 3: the last one finds nothing new", rounds)
	}
	if want := 6; len(inserted) != want {
		t.Errorf("gave the kernel %d modules (%v), want %d: each once", len(inserted), inserted, want)
	}
}

func TestLoadForDevicesEnds(t *testing.T) {
	l := loaderFor(t, "", nil)
	rounds := 0
	err := l.loadForDevices(func() []string {
		rounds++
		return []string{strings.Repeat("x", rounds)}
	})
	if err != nil || rounds != maxRounds {
		t.Errorf("got %v after %d rounds, want none after %d", err, rounds, maxRounds)
	}
}

func TestLoad(t *testing.T) {
	l := loaderFor(t, "broken", nil)
	for name, want := range map[string]string{
		"virtio-net":   "",
		"builtin":      "",
		"virtio_pci":   "", // its soft dependency is broken
		"needs_broken": "loading module broken: exec format error",
		"nobody":       `loading module: looking up "nobody": no such module or alias`,
	} {
		got := ""
		if err := l.load(name); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func sorted(s []string) map[string]bool {
	m := map[string]bool{}
	for _, v := range s {
		m[v] = true
	}
	return m
}
