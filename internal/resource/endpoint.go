package resource

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Endpoint is where an API can be reached.
type Endpoint struct {
	Host string // a name or an address
	Port string // decimal; Port if none was given
	// PortGiven is set if the person named the port.
	PortGiven bool
}

// ParseEndpoint reads "10.0.0.2", "10.0.0.2:50001", "node.example", "fd00::2",
// "[fd00::2]:50001" or "https://node.example", whose port is 443.
func ParseEndpoint(s string) (Endpoint, error) {
	e, err := splitEndpoint(s)
	if err != nil {
		return Endpoint{}, fmt.Errorf("parsing endpoint %q: %w", s, err)
	}
	if !isHost(e.Host) {
		return Endpoint{}, fmt.Errorf("parsing endpoint %q: %q is no host; wanted is a form like 10.0.0.2 or node.example:%s", s, e.Host, Port)
	}
	if n, err := strconv.ParseUint(e.Port, 10, 16); err != nil || n == 0 {
		return Endpoint{}, fmt.Errorf("parsing endpoint %q: %q is no port from 1 to 65535", s, e.Port)
	}
	return e, nil
}

func splitEndpoint(s string) (Endpoint, error) {
	if rest, ok := strings.CutPrefix(s, "https://"); ok {
		u, err := url.Parse("https://" + rest)
		if err != nil {
			return Endpoint{}, err
		}
		if u.Port() == "" {
			return Endpoint{Host: u.Hostname(), Port: "443", PortGiven: true}, nil
		}
		return Endpoint{Host: u.Hostname(), Port: u.Port(), PortGiven: true}, nil
	}
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bare = s[1 : len(s)-1]
	}
	if addr, err := netip.ParseAddr(bare); err == nil {
		return Endpoint{Host: addr.String(), Port: Port}, nil
	}
	if !strings.Contains(s, ":") {
		return Endpoint{Host: s, Port: Port}, nil
	}
	host, port, err := net.SplitHostPort(s)
	return Endpoint{Host: host, Port: port, PortGiven: true}, err
}

// isHost says whether s is an address or made of the letters of a name.
func isHost(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	if _, err := netip.ParseAddr(s); err == nil {
		return strings.Trim(s, letters+":%") == "" // a zone may be anything
	}
	return s != "" && strings.Trim(s, letters) == ""
}

// String is the form to dial.
func (e Endpoint) String() string { return net.JoinHostPort(e.Host, e.Port) }

// Given is what the person may have written: without a port that was not
// given.
func (e Endpoint) Given() string {
	if e.PortGiven {
		return e.String()
	}
	return e.Host
}
