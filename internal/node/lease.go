package node

import (
	"net/netip"
	"time"
)

// lease is what a DHCP server has granted for a time.
type lease struct {
	address  netip.Prefix
	gateway  netip.Addr // may be invalid: none
	server   netip.Addr
	dns      []netip.Addr
	domain   string
	hostname string

	since         time.Time
	renew, rebind time.Duration // T1 and T2 of RFC 2131, section 4.4.5
	life          time.Duration
}

// forever is how RFC 2131 writes a lease that does not end, in seconds.
const forever = 0xffffffff * time.Second

// minWait keeps a client whose lease runs out from flooding the network (RFC
// 2131, section 4.4.5).
const minWait = time.Minute

// attempt is what to do next for a lease.
type attempt struct {
	at time.Time
	// everybody says to ask all servers, and not only the one that has
	// granted the lease.
	everybody bool
}

// next says when to ask for more time, given when the last attempt was (the
// zero time if there was none): at T1, then after half of what is left until T2;
// at T2, then after half of what is left until the lease ends. It is false if
// the lease ends first, or never.
func (l lease) next(last time.Time) (attempt, bool) {
	if l.life >= forever {
		return attempt{}, false
	}
	t1, t2, end := l.since.Add(l.renew), l.since.Add(l.rebind), l.end()
	a := attempt{at: t1}
	switch {
	case last.IsZero():
	case last.Before(t2):
		a.at = later(last, t2)
	default:
		a.at = later(last, end)
	}
	a.everybody = !a.at.Before(t2)
	return a, a.at.Before(end)
}

func (l lease) end() time.Time { return l.since.Add(l.life) }

// later is half-way to the limit, but not before minWait has passed, or the
// limit if that comes first.
func later(last, limit time.Time) time.Time {
	at := last.Add(max(limit.Sub(last)/2, minWait))
	if at.After(limit) {
		return limit
	}
	return at
}

// fillTimes sets the times that a server has not given, as RFC 2131 has it.
func (l *lease) fillTimes() {
	if l.renew <= 0 || l.renew >= l.life {
		l.renew = l.life / 2
	}
	if l.rebind <= l.renew || l.rebind >= l.life {
		l.rebind = max(l.life/8*7, l.renew)
	}
}
