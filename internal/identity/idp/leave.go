package idp

import "net/url"

// Leave is where somebody goes on who has signed out here and would end their session at
// the provider, too (OpenID Connect RP-Initiated Logout 1.0 §2). The provider sends them to
// back after that, if it knows the address for one of ours. It is "" when the provider has
// no such place, or has said nothing of itself since the start: nobody is asked.
//
// No ID token goes along, because none is kept. So the provider asks the human first, and
// nothing but their own word ends their session there.
func (p *Provider) Leave(back string) string {
	p.mu.Lock()
	k := p.known
	p.mu.Unlock()
	if k == nil || k.End == "" {
		return ""
	}
	u, err := url.Parse(k.End)
	if err != nil || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) || !p.own(k, u.Host) {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.ClientID)
	q.Set("post_logout_redirect_uri", back)
	u.RawQuery = q.Encode()
	return u.String()
}

// own reports whether a host is one that people sign in at: nobody is sent elsewhere.
func (p *Provider) own(k *known, host string) bool {
	for _, address := range []string{p.Issuer, k.oidc.Endpoint().AuthURL} {
		if u, err := url.Parse(address); err == nil && u.Host == host {
			return true
		}
	}
	return false
}
