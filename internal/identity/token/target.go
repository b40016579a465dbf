package token

import "strings"

// sameTarget reports whether an htu claim names the address of a request, after
// the normalisation that RFC 9449 §4.3 asks for (RFC 3986 §6.2.2, §6.2.3).
// Query and fragment do not count on either side.
func sameTarget(htu, url string) bool {
	a, ok := normalTarget(htu)
	if !ok || a == url {
		return ok
	}
	b, ok := normalTarget(url)
	return ok && a == b
}

// normalTarget returns the normal form of an absolute http or https URL without
// its query and fragment. Userinfo, what is not ASCII and what is not in form
// are refused.
func normalTarget(url string) (normal string, ok bool) {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i]
	}
	for i := range len(url) {
		if c := url[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^{|}`+"`", c) >= 0 {
			return "", false
		}
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return "", false
	}
	port := ""
	switch scheme = strings.ToLower(scheme); scheme {
	case "http":
		port = ":80"
	case "https":
		port = ":443"
	default:
		return "", false
	}
	host, path := rest, "/"
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	host = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(host), port), ":")
	if host == "" || strings.ContainsAny(host, "@%") {
		return "", false
	}
	if path, ok = normalEscapes(path); !ok {
		return "", false
	}
	return scheme + "://" + host + withoutDots(path), true
}

const upperHex = "0123456789ABCDEF"

// normalEscapes writes percent-encoding in upper case, and plainly where the
// character is unreserved.
func normalEscapes(path string) (normal string, ok bool) {
	if strings.IndexByte(path, '%') < 0 {
		return path, true
	}
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b = append(b, path[i])
			continue
		}
		if i+2 >= len(path) {
			return "", false
		}
		high, low := strings.IndexByte(upperHex, upper(path[i+1])), strings.IndexByte(upperHex, upper(path[i+2]))
		if high < 0 || low < 0 {
			return "", false
		}
		if c := byte(high<<4 | low); unreserved(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[high], upperHex[low])
		}
		i += 2
	}
	return string(b), true
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// withoutDots removes dot segments from a path that begins with a slash (RFC
// 3986 §5.2.4).
func withoutDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	segments := strings.Split(path[1:], "/")
	out := segments[:0]
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".", "..":
			if s == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}
