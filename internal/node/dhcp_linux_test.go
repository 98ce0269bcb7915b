package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/testkit"
)

// The two ends of the cable in TestDHCP.
const (
	clientEnd, serverEnd = "client0", "server0"

	serverAddress = "10.99.0.1"
	clientAddress = "10.99.0.2"
)

// inNetwork runs f in a network namespace of its own. The thread is not used
// for anything else again.
func inNetwork(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
			done <- fmt.Errorf("%w: making a network namespace: %w", errNoNetwork, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// TestDHCP gets a lease from a server at the other end of a cable, renews it,
// and loses it: the kernel is the judge of the addresses and routes.
func TestDHCP(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	served := make(chan string, 10)
	thread, plugged, stop := make(chan int, 1), make(chan bool, 1), make(chan struct{})
	serverDone := make(chan error, 1)
	go func() {
		serverDone <- inNetwork(func() error {
			thread <- unix.Gettid()
			if !<-plugged {
				return nil
			}
			return serveDHCP(served, stop)
		})
		close(thread)
	}()
	clientErr := inNetwork(func() error {
		if err := plug(<-thread); err != nil {
			return fmt.Errorf("%w: making a cable: %w", errNoNetwork, err)
		}
		plugged <- true
		return leaseAndLose(t, served)
	})
	close(plugged)
	close(stop)
	err := errors.Join(clientErr, <-serverDone)
	if errors.Is(err, errNoNetwork) {
		testkit.Absent(t, err.Error())
	}
	if err != nil {
		t.Error(err)
	}
}

var errNoNetwork = errors.New("a test cannot have a network of its own here")

// plug connects this network with that of a thread.
func plug(thread int) error {
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		return err
	}
	defer c.Close()
	peer := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: serverEnd, NetNS: rtnetlink.NetNSForPID(uint32(thread))}}
	return c.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: clientEnd,
		Info: &rtnetlink.LinkInfo{Kind: "veth", Data: &driver.Veth{PeerInfo: peer}},
	}})
}

// serveDHCP grants one lease, renews it once and then refuses it. It says what
// it was asked, and from where.
func serveDHCP(served chan<- string, stop <-chan struct{}) error {
	if err := linkUp("lo"); err != nil {
		return err
	}
	if err := linkUp(serverEnd); err != nil {
		return err
	}
	if err := addAddress(serverEnd, netip.MustParsePrefix(serverAddress+"/24"), netip.Addr{}); err != nil {
		return err
	}
	requests := 0
	s, err := server4.NewServer(serverEnd, &net.UDPAddr{Port: dhcpv4.ServerPort}, func(conn net.PacketConn, from net.Addr, q *dhcpv4.DHCPv4) {
		kind := dhcpv4.MessageTypeOffer
		if q.MessageType() == dhcpv4.MessageTypeRequest {
			requests++
			kind = dhcpv4.MessageTypeAck
			if requests == 3 {
				kind = dhcpv4.MessageTypeNak
			}
		}
		served <- fmt.Sprintf("%s from %s: %s", q.MessageType(), from, kind)
		answer, err := dhcpv4.NewReplyFromRequest(q,
			dhcpv4.WithMessageType(kind),
			dhcpv4.WithYourIP(net.ParseIP(clientAddress)),
			dhcpv4.WithServerIP(net.ParseIP(serverAddress)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(serverAddress))),
			dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))),
			dhcpv4.WithOption(dhcpv4.OptRouter(net.ParseIP(serverAddress))),
			dhcpv4.WithLeaseTime(3600),
			dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(time.Second)),
		)
		if err != nil {
			return
		}
		conn.WriteTo(answer.ToBytes(), from)
	})
	if err != nil {
		return err
	}
	go func() {
		<-stop
		s.Close()
	}()
	s.Serve()
	return nil
}

func leaseAndLose(t *testing.T, served <-chan string) error {
	if err := linkUp(clientEnd); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	lines := make(lineLog, 10)
	m := &machine{log: NewLogger(lines)}
	first := make(chan struct{}, 1)
	err := m.holdLease(ctx, clientEnd, first)
	if err == nil || !strings.Contains(err.Error(), "has taken the address back") {
		return fmt.Errorf("holding the lease: got %v, want to hear that the address was taken back", err)
	}
	if got, want := <-lines, "graftd: client0 has 10.99.0.2/24 (DHCP of 10.99.0.1, for 1h0m0s)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(first) != 1 {
		t.Error("nobody was told of the first lease")
	}
	for _, want := range []string{
		"DISCOVER from 255.255.255.255:68: OFFER", "REQUEST from 255.255.255.255:68: ACK", // who has no address is answered so
		"REQUEST from 10.99.0.2:68: ACK", "REQUEST from 10.99.0.2:68: NAK", // to renew, the one server is asked
	} {
		if got := <-served; got != want {
			t.Errorf("the server got %q, want %q", got, want)
		}
	}
	return checkAddresses(t)
}

// checkAddresses sees that nothing is left of the lease, and that the kernel
// takes and gives the same again.
func checkAddresses(t *testing.T) error {
	state := func() (string, error) {
		i, err := net.InterfaceByName(clientEnd)
		if err != nil {
			return "", err
		}
		addrs, err := i.Addrs()
		if err != nil {
			return "", err
		}
		var all []string
		for _, a := range addrs {
			if !strings.HasPrefix(a.String(), "fe80:") {
				all = append(all, a.String())
			}
		}
		route, err := os.ReadFile("/proc/thread-self/net/route")
		if err != nil {
			return "", err
		}
		for _, line := range strings.Split(string(route), "\n")[1:] {
			if f := strings.Fields(line); len(f) > 2 && f[1] == "00000000" {
				all = append(all, "default "+f[0]+" "+f[2])
			}
		}
		return strings.Join(all, ", "), nil
	}
	got, err := state()
	if err != nil || got != "" {
		t.Errorf("behind the lease: got %q, %v, want nothing", got, err)
	}
	address, gateway := netip.MustParsePrefix(clientAddress+"/32"), netip.MustParseAddr(serverAddress)
	for range 2 { // twice is as good as once
		if err := addAddress(clientEnd, address, gateway); err != nil {
			return err
		}
	}
	got, err = state()
	if want := "10.99.0.2/32, default client0 0100630A"; err != nil || got != want {
		t.Errorf("with an address and a gateway outside of its network: got %q, %v, want %q", got, err, want)
	}
	if err := removeAddress(clientEnd, address); err != nil {
		return err
	}
	got, err = state()
	if err != nil || got != "" {
		t.Errorf("behind removing the address: got %q, %v, want nothing", got, err)
	}
	return nil
}
