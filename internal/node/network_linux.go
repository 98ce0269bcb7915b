package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"
)

const (
	// interfaceTimeout is how long the interface of a driver that has just been
	// loaded may take to appear.
	interfaceTimeout = 3 * time.Second
	// networkTimeout is how long booting waits for an address. DHCP goes on
	// behind it.
	networkTimeout = 10 * time.Second

	resolvConf = "/run/resolv.conf"
)

// bringUpNetwork gives addresses to the Ethernet interfaces, as the command line
// says.
func (m *machine) bringUpNetwork(ctx context.Context) error {
	if m.address.method == none {
		m.log.Info("the command line wants no network (ip=off)")
		return nil
	}
	names := waitForInterfaces(ctx, m.address.device)
	if len(names) == 0 {
		return errors.New("there is no Ethernet interface")
	}
	var failed []error
	for _, name := range names {
		failed = append(failed, linkUp(name))
	}
	if m.address.method == static {
		return errors.Join(append(failed, m.useStatic(names[0]))...)
	}
	first := make(chan struct{}, len(names))
	for _, name := range names {
		go m.take(ctx, step{"keeping the address of " + name, func(ctx context.Context) error {
			m.keepLease(ctx, name, first)
			return nil
		}})
	}
	select {
	case <-first:
	case <-time.After(networkTimeout):
		failed = append(failed, fmt.Errorf("no DHCP server has answered on %s yet", strings.Join(names, ", ")))
	}
	return errors.Join(failed...)
}

// waitForInterfaces waits for Ethernet interfaces, or for one of a name.
func waitForInterfaces(ctx context.Context, device string) []string {
	ctx, cancel := context.WithTimeout(ctx, interfaceTimeout)
	defer cancel()
	for {
		if names := ethernet(device); len(names) > 0 || ctx.Err() != nil {
			return names
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ethernet lists the Ethernet interfaces that stand for hardware, in the order
// in which the kernel has found them.
func ethernet(device string) []string {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var names []string
	for _, i := range all {
		_, err := os.Stat(filepath.Join("/sys/class/net", i.Name, "device"))
		if err == nil && len(i.HardwareAddr) == 6 && (device == "" || device == i.Name) {
			names = append(names, i.Name)
		}
	}
	return names
}

func (m *machine) useStatic(name string) error {
	a := m.address
	if err := addAddress(name, a.address, a.gateway); err != nil {
		return err
	}
	m.log.Info(fmt.Sprintf("%s has %s (command line)", name, a.address))
	return writeResolvConf(a.dns, "")
}

// withLink calls f with a connection to the kernel and the index of an
// interface.
func withLink(name string, f func(c *rtnetlink.Conn, index uint32) error) error {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("looking for interface %s: %w", name, err)
	}
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		return fmt.Errorf("connecting to the kernel's network: %w", err)
	}
	defer c.Close()
	if err := f(c, uint32(i.Index)); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}

func linkUp(name string) error {
	return withLink(name, func(c *rtnetlink.Conn, index uint32) error {
		err := c.Link.Set(&rtnetlink.LinkMessage{Index: index, Flags: unix.IFF_UP, Change: unix.IFF_UP})
		if err != nil {
			return fmt.Errorf("switching it on: %w", err)
		}
		return nil
	})
}

// addAddress gives an interface an address, and the default route if there is
// a gateway. Both may be there already.
func addAddress(name string, address netip.Prefix, gateway netip.Addr) error {
	return withLink(name, func(c *rtnetlink.Conn, index uint32) error {
		err := c.Address.New(addressMessage(index, address))
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("adding address %s: %w", address, err)
		}
		if !gateway.IsValid() {
			return nil
		}
		if err := c.Route.Replace(defaultRoute(index, address, gateway)); err != nil {
			return fmt.Errorf("routing through %s: %w", gateway, err)
		}
		return nil
	})
}

// removeAddress takes an address away, and the kernel takes the routes that
// need it.
func removeAddress(name string, address netip.Prefix) error {
	return withLink(name, func(c *rtnetlink.Conn, index uint32) error {
		if err := c.Address.Delete(addressMessage(index, address)); err != nil {
			return fmt.Errorf("removing address %s: %w", address, err)
		}
		return nil
	})
}

func addressMessage(index uint32, address netip.Prefix) *rtnetlink.AddressMessage {
	ip := net.IP(address.Addr().AsSlice())
	return &rtnetlink.AddressMessage{
		Family:       unix.AF_INET,
		PrefixLength: uint8(address.Bits()),
		Scope:        unix.RT_SCOPE_UNIVERSE,
		Index:        index,
		Attributes:   &rtnetlink.AddressAttributes{Address: ip, Local: ip},
	}
}

// defaultRoute leads everywhere. Interfaces that come later are asked later, so
// that two of them have two routes. Some clouds give addresses whose network
// has no gateway in it: it is reached all the same.
func defaultRoute(index uint32, address netip.Prefix, gateway netip.Addr) *rtnetlink.RouteMessage {
	r := &rtnetlink.RouteMessage{
		Family:   unix.AF_INET,
		Table:    unix.RT_TABLE_MAIN,
		Protocol: unix.RTPROT_BOOT,
		Scope:    unix.RT_SCOPE_UNIVERSE,
		Type:     unix.RTN_UNICAST,
		Attributes: rtnetlink.RouteAttributes{
			Gateway:  gateway.AsSlice(),
			Src:      address.Addr().AsSlice(),
			OutIface: index,
			Priority: 1000 + index,
		},
	}
	if !address.Contains(gateway) {
		r.Flags = unix.RTNH_F_ONLINK
	}
	return r
}

// writeResolvConf keeps the name servers where a base can link /etc/resolv.conf
// to: the root is read-only.
func writeResolvConf(servers []netip.Addr, domain string) error {
	if len(servers) == 0 || !mounted(filepath.Dir(resolvConf)) {
		return nil
	}
	return os.WriteFile(resolvConf, []byte(formatResolvConf(servers, domain)), 0o644)
}
