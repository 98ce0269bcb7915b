package node

import (
	"fmt"
	"net/netip"
	"strings"
)

// formatResolvConf writes resolv.conf(5). The domain comes from the network: one
// that is no name is left out.
func formatResolvConf(servers []netip.Addr, domain string) string {
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if isName(domain) {
		fmt.Fprintf(&b, "search %s\n", domain)
	}
	return b.String()
}

// isName says whether s is made as the name of a host is (RFC 1123).
func isName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"
	return s != "" && len(s) <= 253 && strings.Trim(s, letters) == "" && !strings.HasPrefix(s, "-")
}
