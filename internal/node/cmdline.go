package node

import (
	"fmt"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// cmdline is the kernel's command line, word by word.
type cmdline []string

// parseCmdline splits a command line as the kernel does (lib/cmdline.c): at
// blanks outside of double quotes, which are dropped. What follows "--" is for
// init.
func parseCmdline(s string) cmdline {
	var words cmdline
	var word strings.Builder
	quoted := false
	end := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	for _, c := range strings.TrimRight(s, "\n") {
		switch {
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\n'):
			end()
		default:
			word.WriteRune(c)
		}
	}
	end()
	for i, w := range words {
		if w == "--" {
			return words[:i]
		}
	}
	return words
}

// values are all that is said about a key, in order.
func (c cmdline) values(key string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, word := range c {
			if k, v, _ := strings.Cut(word, "="); k == key && !yield(v) {
				return
			}
		}
	}
}

// moduleParameters are the words "module.parameter=value" of one module,
// without the module: what modprobe passes on.
func (c cmdline) moduleParameters(module string) string {
	var found []string
	for _, word := range c {
		name, value, _ := strings.Cut(word, "=")
		name, parameter, ok := strings.Cut(name, ".")
		if !ok || strings.ReplaceAll(name, "-", "_") != module {
			continue
		}
		if strings.Contains(word, "=") {
			if strings.ContainsAny(value, " \t") {
				value = `"` + value + `"`
			}
			parameter += "=" + value
		}
		found = append(found, parameter)
	}
	return strings.Join(found, " ")
}

// addressing says how the network gets its IPv4 addresses.
type addressing struct {
	method   method
	device   string       // the only interface to use; empty is every one
	address  netip.Prefix // if static
	gateway  netip.Addr   // if static; may be invalid: none
	dns      []netip.Addr
	hostname string
}

type method int

const (
	byDHCP method = iota
	static
	none
)

// parseIP reads the value of the parameter ip, in the form of the kernel
// (Documentation/admin-guide/nfs/nfsroot.rst):
//
//	client:server:gateway:netmask:hostname:device:autoconf:dns0:dns1:ntp0
//
// or one word for autoconf. The server is for NFS, and ntp0 is not used. The
// netmask may be a number of bits, and is guessed from the class of the address
// if it is missing.
func parseIP(value string) (addressing, error) {
	a, err := parseIPFields(strings.Split(value, ":"))
	if err != nil {
		return addressing{}, fmt.Errorf("parsing ip=%s: %w", value, err)
	}
	return a, nil
}

// Fields of the parameter ip, by their positions.
const (
	ipClient, ipGateway, ipNetmask, ipHostname = 0, 2, 3, 4
	ipDevice, ipAutoconf, ipDNS0, ipDNS1       = 5, 6, 7, 8

	ipFields = 10
)

func parseIPFields(fields []string) (addressing, error) {
	if len(fields) > ipFields {
		return addressing{}, fmt.Errorf("%d fields, more than the %d that there are (IPv6 configures itself)", len(fields), ipFields)
	}
	if len(fields) == 1 {
		m, err := parseAutoconf(fields[0])
		return addressing{method: m}, err
	}
	fields = append(fields, make([]string, ipFields-len(fields))...)
	a := addressing{hostname: fields[ipHostname], device: fields[ipDevice]}
	var err error
	if a.method, err = parseAutoconf(fields[ipAutoconf]); err != nil {
		return a, err
	}
	if fields[ipClient] != "" {
		a.method = static
		if a.address, err = parseAddress(fields[ipClient], fields[ipNetmask]); err != nil {
			return a, err
		}
	}
	if fields[ipGateway] != "" {
		if a.gateway, err = parseIPv4(fields[ipGateway]); err != nil {
			return a, err
		}
	}
	for _, field := range fields[ipDNS0 : ipDNS1+1] {
		if field == "" {
			continue
		}
		server, err := parseIPv4(field)
		if err != nil {
			return a, err
		}
		a.dns = append(a.dns, server)
	}
	return a, nil
}

func parseAutoconf(word string) (method, error) {
	switch word {
	case "", "on", "any", "dhcp", "both":
		return byDHCP, nil
	case "off", "none":
		return none, nil
	}
	return none, fmt.Errorf("%q is none of dhcp, any, on, off, none", word)
}

func parseIPv4(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err == nil && !a.Is4() {
		err = fmt.Errorf("%q is not IPv4", s)
	}
	return a, err
}

func parseAddress(client, netmask string) (netip.Prefix, error) {
	a, err := parseIPv4(client)
	if err != nil {
		return netip.Prefix{}, err
	}
	bits, err := maskBits(a, netmask)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, bits), nil
}

func maskBits(a netip.Addr, netmask string) (int, error) {
	if netmask == "" {
		bits, _ := net.IP(a.AsSlice()).DefaultMask().Size()
		return bits, nil
	}
	if bits, err := strconv.Atoi(netmask); err == nil && bits >= 0 && bits <= 32 {
		return bits, nil
	}
	m, err := parseIPv4(netmask)
	if err != nil {
		return 0, err
	}
	ones, size := net.IPMask(m.AsSlice()).Size()
	if size == 0 {
		return 0, fmt.Errorf("%q is no netmask", netmask)
	}
	return ones, nil
}
