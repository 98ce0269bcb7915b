package node

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCmdline(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want cmdline
	}{
		{"", nil},
		{"\n", nil},
		{"console=ttyS0 quiet\n", cmdline{"console=ttyS0", "quiet"}},
		{"  a\t b  ", cmdline{"a", "b"}},
		{`dyndbg="file x.c +p" "y=a b"`, cmdline{"dyndbg=file x.c +p", "y=a b"}},
		{`x="open end`, cmdline{"x=open end"}},
		{"a -- b ip=dhcp", cmdline{"a"}},
	} {
		if diff := cmp.Diff(tt.want, parseCmdline(tt.in)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestCmdlineValues(t *testing.T) {
	c := parseCmdline("ip=off modules_load=a,b ip modules_load=c")
	if got, want := slices.Collect(c.values("ip")), []string{"off", ""}; !slices.Equal(got, want) {
		t.Errorf("ip: got %q, want %q", got, want)
	}
	if got := slices.Collect(c.values("quiet")); got != nil {
		t.Errorf("quiet: got %q, want none", got)
	}
}

func TestModuleParameters(t *testing.T) {
	c := parseCmdline(`loop.max_part=3 virtio-net.csum=0 loop.debug quiet loop "loop.hw=a b" loop.max_loop=`)
	for module, want := range map[string]string{
		"loop":       `max_part=3 debug hw="a b" max_loop=`,
		"virtio_net": "csum=0",
		"quiet":      "",
	} {
		if got := c.moduleParameters(module); got != want {
			t.Errorf("%s: got %q, want %q", module, got, want)
		}
	}
}

func TestParseIP(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for _, tt := range []struct {
		in   string
		want addressing
	}{
		{"dhcp", addressing{method: byDHCP}},
		{"any", addressing{method: byDHCP}},
		{"", addressing{method: byDHCP}},
		{"off", addressing{method: none}},
		{"none", addressing{method: none}},
		{":::::eth1:dhcp", addressing{method: byDHCP, device: "eth1"}},
		{"::::host::", addressing{method: byDHCP, hostname: "host"}},
		{"10.0.2.15::10.0.2.2:255.255.255.0:host:eth0:none", addressing{
			method: static, address: prefix("10.0.2.15/24"), gateway: addr("10.0.2.2"), hostname: "host", device: "eth0"}},
		{"10.0.2.15:10.0.2.3:10.0.2.2:26:::off:1.1.1.1:9.9.9.9:10.0.2.4", addressing{
			method: static, address: prefix("10.0.2.15/26"), gateway: addr("10.0.2.2"), dns: []netip.Addr{addr("1.1.1.1"), addr("9.9.9.9")}}},
		{"192.168.1.2:::::", addressing{method: static, address: prefix("192.168.1.2/24")}},
		{"10.1.2.3::", addressing{method: static, address: prefix("10.1.2.3/8")}},
	} {
		got, err := parseIP(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(addressing{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
			cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestParseIPRefuses(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"rarp", "none of dhcp"},
		{"10.0.2.15::10.0.2.2:255.255.255.0:host:eth0:ibft", "none of dhcp"},
		{"10.0.2::10.0.2.2:24:::none", "10.0.2"},
		{"10.0.2.15::10.0.2:24:::none", "10.0.2"},
		{"10.0.2.15::10.0.2.2:255.0.255.0:::none", "no netmask"},
		{"10.0.2.15::10.0.2.2:33:::none", `"33"`},
		{"10.0.2.15::10.0.2.2:24:::none:dns", "dns"},
		{"[fd00::2]::[fd00::1]:64:::none", "more than"},
		{"1:2:3:4:5:6:7:8:9:10:11", "more than the 10"},
	} {
		_, err := parseIP(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "parsing ip="+tt.in) {
			t.Errorf("%q: got %v, want an error that says %q", tt.in, err, tt.want)
		}
	}
}

func FuzzParseIP(f *testing.F) {
	for _, s := range []string{"dhcp", "off", "10.0.2.15::10.0.2.2:255.255.255.0:host:eth0:none", "10.0.2.15:10.0.2.3:10.0.2.2:26:::off:1.1.1.1:9.9.9.9:10.0.2.4", ":::::eth1:dhcp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseIP(s)
		if err != nil {
			return
		}
		if (a.method == static) != a.address.IsValid() {
			t.Errorf("%q: method %d with address %v", s, a.method, a.address)
		}
	})
}

func FuzzParseCmdline(f *testing.F) {
	for _, s := range []string{"console=ttyS0 quiet\n", `dyndbg="file x.c +p" -- x`, `loop.max_part=3 "`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, word := range parseCmdline(s) {
			if word == "" || strings.Contains(word, `"`) {
				t.Errorf("%q: got word %q", s, word)
			}
		}
	})
}
