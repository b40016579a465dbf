package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

const svidPath = "/v1/svids"

// certified is what the network answers to who asks for an SVID.
type certified struct {
	ID          string
	Instance    string
	Credential  string
	Certificate string
	Bundle      []string
	Rule        string
}

// signingRequest makes a key and a request for a certificate.
func signingRequest(t testing.TB) (*ecdsa.PrivateKey, string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		t.Fatal(err)
	}
	return k, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: raw}))
}

// certify asks for an SVID on a connection whose certificate binds the token.
func (x *secured) certify(c *http.Client, access, instance string) (int, certified, tls.Certificate) {
	x.t.Helper()
	key, request := signingRequest(x.t)
	body, err := json.Marshal(map[string]any{"request": request, "instance": instance})
	if err != nil {
		x.t.Fatal(err)
	}
	status, _, raw := x.do(c, http.MethodPost, svidPath, string(body), http.Header{"Authorization": {"Bearer " + access}, "Content-Type": {"application/json"}})
	var out certified
	_ = json.Unmarshal(raw, &out)
	cert := tls.Certificate{PrivateKey: key}
	if block, _ := pem.Decode([]byte(out.Certificate)); block != nil {
		cert.Certificate = [][]byte{block.Bytes}
	}
	return status, out, cert
}

// bySVID asks for a token with nothing but the connection's certificate.
func (x *secured) bySVID(c *http.Client, more url.Values) (int, tokens) {
	x.t.Helper()
	form := url.Values{"grant_type": {grantClient}}
	for name, v := range more {
		form[name] = v
	}
	status, _, raw := x.do(c, http.MethodPost, tokenPath, form.Encode(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	var out tokens
	_ = json.Unmarshal(raw, &out)
	return status, out
}

func (x *secured) me(c *http.Client, access string) int {
	x.t.Helper()
	status, _, _ := x.do(c, http.MethodGet, resourcePath, "", http.Header{"Authorization": {"Bearer " + access}})
	return status
}

// enrolled gets an agent its first SVID with its key, and a client that shows it.
func (x *secured) enrolled(m member, scope string) (*http.Client, certified, tls.Certificate) {
	x.t.Helper()
	first := x.client(selfSigned(x.t))
	status, got := x.token(first, m, url.Values{"grant_type": {grantClient}, "scope": {scope}}, "")
	if status != http.StatusOK {
		x.t.Fatalf("a token by the key: %d %s %s", status, got.Error, got.Rule)
	}
	status, out, cert := x.certify(first, got.Access, "")
	if status != http.StatusCreated {
		x.t.Fatalf("an SVID: %d %s", status, out.Rule)
	}
	return x.client(cert), out, cert
}

// An SVID stands for the key that it was got with: it gets tokens that are bound to it,
// within its scope, the next SVID of its instance, and ends with the key (T17), with its
// agent, and by itself. Nothing of a stranger's gets anything.
func TestSVIDIsWhoOneIs(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			x := secure(t, d)
			ada, bea := enrol(t, x.s, "ada", token.ES256), enrol(t, x.s, "bea", token.EdDSA)
			mine, out, _ := x.enrolled(ada, "agent.me svid.* feed.read")
			if want := "spiffe://" + x.s.Issuer.TrustDomain() + "/agent/" + ada.id + "/inst/" + out.Instance; out.ID != want {
				t.Errorf("it is %s, want %s", out.ID, want)
			}
			status, got := x.bySVID(mine, nil)
			if status != http.StatusOK || got.Type != "Bearer" || got.Scope != "agent.me feed.read svid.*" {
				t.Fatalf("a token by the SVID: %d %+v", status, got)
			}
			if status := x.me(mine, got.Access); status != http.StatusOK {
				t.Errorf("an act: %d", status)
			}
			if status := x.me(x.client(selfSigned(t)), got.Access); status != http.StatusUnauthorized { // T11
				t.Errorf("the token on another connection: %d", status)
			}
			if status, wide := x.bySVID(mine, url.Values{"scope": {"post.create"}}); status != http.StatusBadRequest {
				t.Errorf("more than its scope: %d %s", status, wide.Rule)
			}
			for name, id := range map[string]string{"the agent's id": ada.id, "its own name": out.ID} {
				if status, got := x.bySVID(mine, url.Values{"client_id": {id}}); status != http.StatusOK {
					t.Errorf("client_id is %s: %d %s", name, status, got.Rule)
				}
			}
			if status, got := x.bySVID(mine, url.Values{"client_id": {bea.id}}); status == http.StatusOK {
				t.Errorf("in another's name: %d %s", status, got.Rule)
			}

			// The next one of the same instance, by the SVID alone, and no longer than the key.
			status, next, cert := x.certify(mine, got.Access, "")
			if status != http.StatusCreated || next.ID != out.ID || next.Credential == out.Credential {
				t.Fatalf("the next one: %d %+v", status, next)
			}
			second := x.client(cert)
			if status, got := x.bySVID(second, nil); status != http.StatusOK || x.me(second, got.Access) != http.StatusOK {
				t.Errorf("a token by the next one: %d %s", status, got.Rule)
			}
			other, theirs, _ := x.enrolled(bea, "*")
			_, hers := x.bySVID(other, nil)
			if status, refused, _ := x.certify(other, hers.Access, out.Instance); status != http.StatusBadRequest || refused.Rule != "svid.instance" {
				t.Errorf("an instance of another agent: %d %s", status, refused.Rule)
			}

			// What the network has not made gets nothing, be it by a stolen key of ours.
			foreign := secure(t, store.SQLite)
			zoe := enrol(t, foreign.s, "zoe", token.ES256)
			_, _, strange := foreign.enrolled(zoe, "*")
			if status, got := x.bySVID(x.client(strange), nil); status != http.StatusBadRequest || got.Error != "invalid_client" || got.Rule != "svid.certificate" {
				t.Errorf("an SVID of another network: %d %s", status, got.Rule)
			}
			if status, got := x.bySVID(x.client(selfSigned(t)), nil); status == http.StatusOK {
				t.Errorf("a certificate that is no SVID: %d %s", status, got.Rule)
			}

			// The key ends, and with it all that came of it; the other agent goes on.
			key := credentialOf(t, x.s, ada)
			if _, err := x.s.Issuer.End.Do(t.Context(), governor(t, x.s), identity.CredentialEnd{Credential: key, Reason: "tried"}); err != nil {
				t.Fatal(err)
			}
			for name, c := range map[string]*http.Client{"the first": mine, "the second": second} {
				if status, got := x.bySVID(c, nil); status != http.StatusBadRequest || got.Error != "invalid_client" || got.Rule != "svid.over" {
					t.Errorf("%s after its key: %d %s", name, status, got.Rule)
				}
			}
			if status := x.me(mine, got.Access); status != http.StatusUnauthorized {
				t.Errorf("a token that was got by an SVID, after the key: %d", status)
			}
			if status, got := x.bySVID(other, nil); status != http.StatusOK || x.me(other, got.Access) != http.StatusOK {
				t.Errorf("the other agent: %d %s", status, got.Rule)
			}
			if _, err := x.s.Lifecycle.Kill.Do(t.Context(), governor(t, x.s), lifecycle.Order{Agent: bea.p, Reason: "tried"}); err != nil {
				t.Fatal(err)
			}
			if status, got := x.bySVID(other, nil); status == http.StatusOK {
				t.Errorf("an SVID of one who was killed: %d %s %s", status, got.Rule, theirs.ID)
			}
			if status, refused, _ := x.certify(other, hers.Access, ""); status == http.StatusCreated {
				t.Errorf("one who was killed gets an SVID: %d %s", status, refused.Rule)
			}
		})
	}
}

// T17: with a stolen SVID ends the one that the thief got by it. The key goes on, and
// gets its holder another.
func TestT17_SVIDEndsWithWhatItGot(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			x := secure(t, d)
			ada := enrol(t, x.s, "ada", token.ES256)
			stolen, first, _ := x.enrolled(ada, "agent.me svid.*")
			_, got := x.bySVID(stolen, nil)
			status, _, cert := x.certify(stolen, got.Access, "")
			thief := x.client(cert)
			_, theirs := x.bySVID(thief, nil)
			if status != http.StatusCreated || x.me(thief, theirs.Access) != http.StatusOK {
				t.Fatalf("an SVID by an SVID: %d", status)
			}
			id, err := x.s.Codec.ParseKind(first.Credential, act.KindCredential)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x.s.Issuer.End.Do(t.Context(), governor(t, x.s), identity.CredentialEnd{Credential: id, Reason: "stolen"}); err != nil {
				t.Fatal(err)
			}
			if status := x.me(thief, theirs.Access); status != http.StatusUnauthorized {
				t.Errorf("the thief's token: %d", status)
			}
			for name, c := range map[string]*http.Client{"the stolen one": stolen, "the thief's": thief} {
				if status, got := x.bySVID(c, nil); status == http.StatusOK {
					t.Errorf("a token by %s: %d %s", name, status, got.Rule)
				}
			}
			x.enrolled(ada, "agent.me svid.*")
		})
	}
}

// credentialOf finds the enrolled key of an agent.
func credentialOf(t *testing.T, s *servertest.Server, m member) (id act.ID) {
	t.Helper()
	page, err := s.Issuer.Inventory.Do(t.Context(), governor(t, s), identity.InventoryQuery{Agent: m.p})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range page.Items {
		if item.KeyID == m.key.Public().Thumbprint() {
			id = item.ID
		}
	}
	if id == 0 {
		t.Fatal("the agent has no key")
	}
	return id
}

// A JWT-SVID says who one is to those it names. To the network it is good once, and
// gets a token that is bound to the sender's key.
func TestTokenSVIDIsGoodOnce(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			x := secure(t, d)
			ada := enrol(t, x.s, "ada", token.ES256)
			mine, out, _ := x.enrolled(ada, "agent.me svid.*")
			_, got := x.bySVID(mine, nil)
			ask := func(audience string) string {
				t.Helper()
				status, _, raw := x.do(mine, http.MethodPost, svidPath+"/token", `{"audience":["`+audience+`"]}`,
					http.Header{"Authorization": {"Bearer " + got.Access}, "Content-Type": {"application/json"}})
				var said struct{ ID, Token string }
				_ = json.Unmarshal(raw, &said)
				if status != http.StatusCreated || said.ID != out.ID {
					t.Fatalf("a JWT-SVID: %d %s", status, raw)
				}
				return said.Token
			}
			bundle, err := x.s.Issuer.Bundle()
			if err != nil {
				t.Fatal(err)
			}
			if s, err := jwtsvid.ParseAndValidate(ask("https://board.example"), bundle.JWTBundle(), []string{"https://board.example"}); err != nil || s.ID.String() != out.ID {
				t.Errorf("another reads %v: %v", s, err)
			}
			key := anyKey(t)
			prove := func() string {
				text, err := key.Prove(token.Prove{Method: http.MethodPost, URL: x.url + tokenPath, Nonce: x.s.Issuer.Nonce(), Now: x.s.DB.Clock()()})
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			show := func(text, proof string) (int, tokens) {
				form := url.Values{"grant_type": {grantClient}, "client_assertion": {text}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"}}
				head := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
				if proof != "" {
					head["Dpop"] = []string{proof}
				}
				status, _, raw := x.do(x.client(), http.MethodPost, tokenPath, form.Encode(), head)
				var out tokens
				_ = json.Unmarshal(raw, &out)
				return status, out
			}
			text := ask(x.url)
			if status, got := show(text, ""); status == http.StatusOK {
				t.Errorf("without a key: %d %s", status, got.Rule)
			}
			if status, got := show(text, prove()); status != http.StatusOK || got.Type != "DPoP" || got.Scope != "agent.me svid.*" {
				t.Errorf("a token by it: %d %+v", status, got)
			}
			// T13: it gets no more than the token that it was asked for with.
			_, narrow := x.bySVID(mine, url.Values{"scope": {"svid.sign"}})
			wide := got
			got = narrow
			if status, got := show(ask(x.url), prove()); status != http.StatusOK || got.Scope != "svid.sign" {
				t.Errorf("by a narrower token: %d %+v", status, got)
			}
			got = wide
			exchange := url.Values{"grant_type": {grantExchange}, "subject_token": {got.Access}, "subject_token_type": {accessType}, "scope": {"svid.*"}}
			_, carved := x.bySVID(mine, exchange)
			if status, refused, _ := x.certify(mine, carved.Access, ""); status != http.StatusForbidden || refused.Rule != "svid.grant" {
				t.Errorf("an SVID by a token that was carved: %d %s %s", status, refused.Rule, carved.Rule)
			}
			if status, got := show(text, prove()); status == http.StatusOK || got.Rule != "assertion.replayed" { // T15
				t.Errorf("again: %d %s", status, got.Rule)
			}
			if status, got := show(ask("https://board.example"), prove()); status != http.StatusBadRequest || got.Error != "invalid_client" || got.Rule != "svid.token" {
				t.Errorf("one for somebody else: %d %s", status, got.Rule)
			}
			late := ask(x.url)
			if _, err := x.s.Issuer.End.Do(t.Context(), governor(t, x.s), identity.CredentialEnd{Credential: credentialOf(t, x.s, ada), Reason: "tried"}); err != nil {
				t.Fatal(err)
			}
			if status, got := show(late, prove()); status == http.StatusOK || got.Rule != "svid.over" {
				t.Errorf("after the key: %d %s", status, got.Rule)
			}
		})
	}
}

// keeper keeps the bundle that go-spiffe's watcher brings.
type keeper struct {
	every  time.Duration
	seen   chan *spiffebundle.Bundle
	failed chan error
}

func (k *keeper) NextRefresh(time.Duration) time.Duration { return k.every }
func (k *keeper) OnUpdate(b *spiffebundle.Bundle)         { k.seen <- b }
func (k *keeper) OnError(err error)                       { k.failed <- err }

// go-spiffe's own client watches the network's bundle, sees the coming keys before they
// sign, and completes mTLS between two agents' SVIDs with it.
func TestThirdPartySPIFFEFederation(t *testing.T) {
	var ahead atomic.Int64
	cfg := servertest.Config(t, store.SQLite)
	cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	cfg.TLSCert, cfg.TLSKey = pemFiles(t, selfSigned(t))
	cfg.TrustDomain = "reef.example"
	s := servertest.Start(t, cfg)
	x := &secured{t: t, s: s, url: s.URL}
	domain := spiffeid.RequireTrustDomainFromString("reef.example")

	roots := x509.NewCertPool()
	door, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(door.Leaf)
	ctx, stop := context.WithCancel(t.Context())
	k := &keeper{every: 20 * time.Millisecond, seen: make(chan *spiffebundle.Bundle, 16), failed: make(chan error, 16)}
	var done sync.WaitGroup
	done.Go(func() {
		_ = federation.WatchBundle(ctx, domain, s.URL+"/v1/trust-bundle", k, federation.WithWebPKIRoots(roots))
	})
	defer done.Wait()
	defer stop()
	next := func() *spiffebundle.Bundle {
		t.Helper()
		select {
		case b := <-k.seen:
			return b
		case err := <-k.failed:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatal("no bundle comes")
		}
		return nil
	}
	bundle := next()
	if n, ok := bundle.SequenceNumber(); len(bundle.X509Authorities()) != 1 || len(bundle.JWTAuthorities()) != 1 || !ok || n == 0 {
		t.Fatalf("the bundle has %d and %d keys, sequence %d", len(bundle.X509Authorities()), len(bundle.JWTAuthorities()), n)
	}

	ada, bea := enrol(t, s, "ada", token.ES256), enrol(t, s, "bea", token.ES256)
	_, a, certA := x.enrolled(ada, "*")
	_, b, certB := x.enrolled(bea, "*")
	load := func(c tls.Certificate) *x509svid.SVID {
		t.Helper()
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509svid.ParseRaw(c.Certificate[0], der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	meet := func(here, there *x509svid.SVID, wants string, bundle *spiffebundle.Bundle) error {
		l, r := net.Pipe()
		failed := make(chan error, 1)
		go func() {
			c := tls.Server(r, tlsconfig.MTLSServerConfig(there, bundle, tlsconfig.AuthorizeMemberOf(domain)))
			_, err := c.Write([]byte("hello"))
			_ = r.Close()
			failed <- err
		}()
		c := tls.Client(l, tlsconfig.MTLSClientConfig(here, bundle, tlsconfig.AuthorizeID(spiffeid.RequireFromString(wants))))
		_, err := io.ReadFull(c, make([]byte, 5))
		_ = l.Close()
		if there := <-failed; err == nil {
			err = there
		}
		return err
	}
	if err := meet(load(certA), load(certB), b.ID, bundle); err != nil {
		t.Errorf("mTLS: %v", err)
	}
	if err := meet(load(certA), load(certB), a.ID, bundle); err == nil {
		t.Error("mTLS with somebody else")
	}
	foreign := secure(t, store.SQLite)
	_, _, strange := foreign.enrolled(enrol(t, foreign.s, "zoe", token.ES256), "*")
	if err := meet(load(strange), load(certB), b.ID, bundle); err == nil {
		t.Error("mTLS with an SVID of another network")
	}

	// New keys are in the bundle before they sign, and both sorts of SVIDs are good
	// until the old ones have ended.
	if _, err := s.Issuer.Rotate.Do(t.Context(), governor(t, s), identity.Rotation{SVIDs: true, Reason: "a drill"}); err != nil {
		t.Fatal(err)
	}
	both := next()
	for len(both.X509Authorities()) != 2 {
		both = next()
	}
	before, _ := bundle.SequenceNumber()
	if now, _ := both.SequenceNumber(); now <= before {
		t.Errorf("sequence %d after %d", now, before)
	}
	ahead.Add(int64(identity.PublishAhead + time.Minute))
	if err := s.DB.Reserve(t.Context(), cfg.Clock()); err != nil {
		t.Fatal(err)
	}
	_, c, certC := x.enrolled(enrol(t, s, "cid", token.ES256), "*")
	leaf, err := x509.ParseCertificate(certC.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x509svid.Verify([]*x509.Certificate{leaf}, bundle.X509Bundle(), x509svid.WithTime(cfg.Clock())); err == nil {
		t.Error("the old key still signs")
	}
	if id, _, err := x509svid.Verify([]*x509.Certificate{leaf}, both.X509Bundle(), x509svid.WithTime(cfg.Clock())); err != nil || id.String() != c.ID {
		t.Errorf("an SVID by the new key: %s, %v", id, err)
	}
	if status, got := x.bySVID(x.client(certA), nil); status != http.StatusOK {
		t.Errorf("an SVID by the old key: %d %s", status, got.Rule)
	}
	ahead.Add(int64(identity.MaxSVIDLife + time.Hour))
	if err := s.DB.Reserve(t.Context(), cfg.Clock()); err != nil {
		t.Fatal(err)
	}
	if last, err := s.Issuer.Bundle(); err != nil || len(last.X509Authorities()) != 1 || len(last.JWTAuthorities()) != 1 {
		t.Errorf("in the end the bundle is %v (%v)", last, err)
	}
}

// Keys and SVIDs change under load, until the new keys have signed: no request fails.
func TestSVIDsChangeUnderLoad(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			var ahead atomic.Int64
			cfg := servertest.Config(t, d)
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			cfg.TLSCert, cfg.TLSKey = pemFiles(t, selfSigned(t))
			s := servertest.Start(t, cfg)
			x := &secured{t: t, s: s, url: s.URL}
			stop := make(chan struct{})
			var callers sync.WaitGroup
			var calls, turns atomic.Int64
			var newest atomic.Pointer[x509.Certificate]
			old, err := s.Issuer.Bundle()
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"ada", "bea"} {
				m := enrol(t, x.s, name, token.ES256)
				c, _, _ := x.enrolled(m, "*")
				callers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						status, got := x.bySVID(c, nil)
						if status != http.StatusOK {
							t.Errorf("%s gets no token: %d %s", name, status, got.Rule)
							return
						}
						for range 3 {
							if status := x.me(c, got.Access); status != http.StatusOK {
								t.Errorf("%s: %d", name, status)
								return
							}
							calls.Add(1)
						}
						status, out, cert := x.certify(c, got.Access, "")
						if status != http.StatusCreated {
							t.Errorf("%s gets no SVID: %d %s", name, status, out.Rule)
							return
						}
						c = x.client(cert)
						leaf, err := x509.ParseCertificate(cert.Certificate[0])
						if err != nil {
							t.Error(err)
							return
						}
						newest.Store(leaf)
						turns.Add(1)
					}
				})
			}
			for _, svids := range []bool{true, false} {
				if _, err := s.Issuer.Rotate.Do(t.Context(), governor(t, s), identity.Rotation{SVIDs: svids, Reason: "a drill"}); err != nil {
					t.Error(err)
				}
			}
			for minutes := time.Duration(0); minutes < identity.PublishAhead+3*time.Minute && !t.Failed(); minutes += time.Minute {
				before := turns.Load()
				if err := s.DB.Reserve(t.Context(), cfg.Clock().Add(2*time.Minute)); err != nil { // as the node's lease would in time
					t.Fatal(err)
				}
				ahead.Add(int64(time.Minute))
				eventually(t, "both have had new SVIDs", func() bool { return turns.Load() >= before+3 || t.Failed() })
			}
			close(stop)
			callers.Wait()
			if _, err := newest.Load().Verify(x509.VerifyOptions{Roots: poolOf(old.X509Authorities()), CurrentTime: cfg.Clock(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
				t.Error("the old key still signs")
			}
			t.Logf("%d calls, %d SVIDs", calls.Load(), turns.Load())
		})
	}
}

func poolOf(list []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range list {
		p.AddCert(c)
	}
	return p
}
