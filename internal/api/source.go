package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxHops bounds the entries of X-Forwarded-For that are looked at.
const maxHops = 16

// peer returns the address a request comes from: that of the connection, or,
// when the connection is a trusted proxy's, the last address in X-Forwarded-For
// that no trusted proxy has. What an untrusted peer says is never believed.
// direct is false when something claims to have forwarded the request.
func (k *Kernel) peer(r *http.Request) (addr netip.Addr, direct bool) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	addr = at.Addr().Unmap().WithZone("")
	forwarded := r.Header["X-Forwarded-For"]
	direct = len(forwarded) == 0 && len(r.Header["Forwarded"]) == 0 && len(r.Header["X-Real-Ip"]) == 0
	if direct || !k.trusted(addr) {
		return addr, direct
	}
	hops := 0
	for i := len(forwarded) - 1; i >= 0; i-- {
		list := forwarded[i]
		for list != "" && hops < maxHops {
			hop := list
			if comma := strings.LastIndexByte(list, ','); comma >= 0 {
				list, hop = list[:comma], list[comma+1:]
			} else {
				list = ""
			}
			hops++
			next, ok := parseHop(strings.TrimSpace(hop))
			if !ok {
				return addr, false
			}
			if addr = next; !k.trusted(addr) {
				return addr, false
			}
		}
	}
	return addr, false
}

// parseHop reads an entry of X-Forwarded-For; some proxies add a port.
func parseHop(s string) (netip.Addr, bool) {
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return ip.Unmap().WithZone(""), true
	}
	at, err := netip.ParseAddrPort(s)
	return at.Addr().Unmap().WithZone(""), err == nil
}

func (k *Kernel) trusted(ip netip.Addr) bool {
	for _, p := range k.proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// sourceBits is how much of an IPv6 address counts as one source: the part that a
// network gives to one customer, who can choose the rest.
const sourceBits = 64

// source returns the keyed hash under which a request's origin is counted.
func (k *Kernel) source(r *http.Request) string {
	addr, _ := k.peer(r)
	if !addr.IsValid() {
		return k.Source("unknown")
	}
	if addr.Is6() {
		addr = netip.PrefixFrom(addr, sourceBits).Masked().Addr()
	}
	return k.Source(addr.String())
}
