package node

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestLeaseNext walks through a lease of one day of a server that is gone.
func TestLeaseNext(t *testing.T) {
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := lease{since: since, life: 24 * time.Hour}
	l.fillTimes()
	var got []string
	var last time.Time
	for {
		a, ok := l.next(last)
		if !ok {
			break
		}
		text := a.at.Sub(since).String()
		if a.everybody {
			text += " everybody"
		}
		got = append(got, text)
		last = a.at
	}
	want := []string{
		"12h0m0s", "16h30m0s", "18h45m0s", "19h52m30s", "20h26m15s", "20h43m7.5s", "20h51m33.75s", "20h55m46.875s",
		"20h57m53.4375s", "20h58m56.71875s", "20h59m56.71875s",
		"21h0m0s everybody", "22h30m0s everybody", "23h15m0s everybody", "23h37m30s everybody", "23h48m45s everybody",
		"23h54m22.5s everybody", "23h57m11.25s everybody", "23h58m35.625s everybody", "23h59m35.625s everybody",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
}

func TestLeaseTimes(t *testing.T) {
	for _, tt := range []struct{ life, renew, rebind, wantRenew, wantRebind time.Duration }{
		{80, 0, 0, 40, 70},
		{80, 10, 20, 10, 20},
		{80, 90, 100, 40, 70},
		{80, 50, 50, 50, 70},
		{80, 75, 0, 75, 75},
		{0, 0, 0, 0, 0},
	} {
		l := lease{life: tt.life, renew: tt.renew, rebind: tt.rebind}
		l.fillTimes()
		if l.renew != tt.wantRenew || l.rebind != tt.wantRebind {
			t.Errorf("%+v: got T1 %d and T2 %d", tt, l.renew, l.rebind)
		}
	}
	if _, ok := (lease{life: forever}).next(time.Time{}); ok {
		t.Error("a lease that never ends is renewed")
	}
}

func TestFormatResolvConf(t *testing.T) {
	servers := []netip.Addr{netip.MustParseAddr("10.0.2.3"), netip.MustParseAddr("1.1.1.1")}
	for domain, want := range map[string]string{
		"example.org":         "nameserver 10.0.2.3\nnameserver 1.1.1.1\nsearch example.org\n",
		"":                    "nameserver 10.0.2.3\nnameserver 1.1.1.1\n",
		"x\nnameserver 6.6.6": "nameserver 10.0.2.3\nnameserver 1.1.1.1\n",
	} {
		if got := formatResolvConf(servers, domain); got != want {
			t.Errorf("domain %q: got %q, want %q", domain, got, want)
		}
	}
}
