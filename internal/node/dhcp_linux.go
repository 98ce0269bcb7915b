package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"
)

const (
	// dhcpTimeout is how long a server may take to answer a packet, which is
	// sent dhcpTries times.
	dhcpTimeout = 2 * time.Second
	dhcpTries   = 3
	// dhcpPause is the time between rounds of asking a network that has no
	// server, or whose cable is not plugged in.
	dhcpPause = 10 * time.Second
)

// keepLease gets an address for an interface and keeps it as long as servers
// let us, or gets another one. It tells of the first one.
func (m *machine) keepLease(ctx context.Context, name string, first chan<- struct{}) {
	var lastErr string
	for ctx.Err() == nil {
		err := m.holdLease(ctx, name, first)
		if err != nil && err.Error() != lastErr && ctx.Err() == nil {
			lastErr = err.Error()
			m.log.Error(fmt.Sprintf("%s: %v", name, err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(dhcpPause):
		}
	}
}

// holdLease gets one lease and returns when it has ended.
func (m *machine) holdLease(ctx context.Context, name string, first chan<- struct{}) error {
	granted, err := requestLease(ctx, name)
	if err != nil {
		return err
	}
	l, err := leaseOf(granted)
	if err != nil {
		return err
	}
	if err := m.useLease(name, l); err != nil {
		return err
	}
	select {
	case first <- struct{}{}:
	default: // it has been told
	}
	l, err = m.renewUntilItEnds(ctx, name, granted, l)
	return errors.Join(err, removeAddress(name, l.address))
}

// renewUntilItEnds asks for more time, again and again, and returns the lease
// that has ended.
func (m *machine) renewUntilItEnds(ctx context.Context, name string, granted *nclient4.Lease, l lease) (lease, error) {
	var last time.Time
	for {
		a, more := l.next(last)
		if !more {
			a.at = l.end()
		}
		if err := sleepUntil(ctx, a.at); err != nil {
			return l, err
		}
		if !more {
			return l, errors.New("the lease has ended, and no server has given more time")
		}
		renewed, err := renewLease(ctx, name, granted, l, a.everybody)
		var refused *nclient4.ErrNak
		if errors.As(err, &refused) {
			return l, errors.New("the server has taken the address back")
		}
		if last = time.Now(); err != nil {
			continue
		}
		fresh, err := leaseOf(renewed)
		if err != nil || fresh.address != l.address {
			return l, errors.Join(err, errors.New("the server has given another address"))
		}
		granted, l, last = renewed, fresh, time.Time{}
	}
}

func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(at)):
		return nil
	}
}

// requestLease asks all servers of the network.
func requestLease(ctx context.Context, name string) (*nclient4.Lease, error) {
	c, err := nclient4.New(name, nclient4.WithTimeout(dhcpTimeout), nclient4.WithRetry(dhcpTries))
	if err != nil {
		return nil, fmt.Errorf("preparing DHCP: %w", err)
	}
	defer c.Close()
	granted, err := c.Request(ctx, dhcpv4.WithRequestedOptions(dhcpv4.OptionHostName))
	if err != nil {
		return nil, fmt.Errorf("asking for an address by DHCP: %w", err)
	}
	return granted, nil
}

// renewLease asks for more time: the server that has granted the lease, from
// the address that it has granted, or everybody.
func renewLease(ctx context.Context, name string, granted *nclient4.Lease, l lease, everybody bool) (*nclient4.Lease, error) {
	options := []nclient4.ClientOpt{nclient4.WithTimeout(dhcpTimeout), nclient4.WithRetry(dhcpTries)}
	if !everybody {
		options = append(options,
			nclient4.WithUnicast(&net.UDPAddr{IP: l.address.Addr().AsSlice(), Port: dhcpv4.ClientPort}),
			nclient4.WithServerAddr(&net.UDPAddr{IP: l.server.AsSlice(), Port: dhcpv4.ServerPort}))
	}
	c, err := nclient4.New(name, options...)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Renew(ctx, granted)
}

// useLease makes the interface what the lease says. That the rest of the
// machine knows no names then is logged: the address is worth keeping.
func (m *machine) useLease(name string, l lease) error {
	if err := addAddress(name, l.address, l.gateway); err != nil {
		return err
	}
	m.log.Info(fmt.Sprintf("%s has %s (DHCP of %s, for %v)", name, l.address, l.server, l.life))
	err := writeResolvConf(l.dns, l.domain)
	if m.address.hostname == "" && isName(l.hostname) {
		err = errors.Join(err, unix.Sethostname([]byte(l.hostname)))
	}
	if err != nil {
		m.log.Error(fmt.Sprintf("%s: %v", name, err))
	}
	return nil
}

// leaseOf reads the server's answer.
func leaseOf(granted *nclient4.Lease) (lease, error) {
	ack := granted.ACK
	address, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || address.IsUnspecified() {
		return lease{}, fmt.Errorf("the DHCP server's answer has no address, but %v", ack.YourIPAddr)
	}
	bits := address.BitLen()
	if mask := ack.SubnetMask(); mask != nil {
		bits, _ = mask.Size()
	}
	l := lease{
		address:  netip.PrefixFrom(address, bits),
		dns:      addresses(ack.DNS()),
		domain:   ack.DomainName(),
		hostname: ack.HostName(),
		since:    granted.CreationTime,
		life:     ack.IPAddressLeaseTime(time.Hour),
		renew:    ack.IPAddressRenewalTime(0),
		rebind:   ack.IPAddressRebindingTime(0),
	}
	l.server, _ = netip.AddrFromSlice(ack.ServerIdentifier().To4())
	if routers := addresses(ack.Router()); len(routers) > 0 {
		l.gateway = routers[0]
	}
	l.fillTimes()
	return l, nil
}

func addresses(ips []net.IP) []netip.Addr {
	var all []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok {
			all = append(all, a)
		}
	}
	return all
}
