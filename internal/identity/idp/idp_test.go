package idp_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/egress"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/idp"
)

const (
	client   = "reef"
	redirect = "https://reef.example/sign-in/callback"
)

// rogue is an identity provider that says whatever it is told to. What a good one says
// is shown with one that others have written, in a browser.
type rogue struct {
	url    string
	key    *rsa.PrivateKey
	other  *rsa.PrivateKey // which it does not publish
	secret string

	mu     sync.Mutex
	codes  map[string]url.Values // what the browser came with, by code; guarded by mu
	told   map[string]any        // at the userinfo endpoint; guarded by mu
	claims func(map[string]any)  // changes the ID token's; guarded by mu
	sign   func(map[string]any) string
	meta   func(map[string]any)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newRogue(t *testing.T, now func() time.Time) *rogue {
	r := &rogue{
		key: must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048)), other: must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048)),
		secret: "a secret of thirty-two characters", codes: make(map[string]url.Values),
	}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		m := map[string]any{
			"issuer": r.url, "authorization_endpoint": r.url + "/authorize", "token_endpoint": r.url + "/token", "jwks_uri": r.url + "/jwks",
			"userinfo_endpoint": r.url + "/me", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}, "authorization_response_iss_parameter_supported": true,
		}
		if r.meta != nil {
			r.meta(m)
		}
		answer(w, http.StatusOK, m)
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: r.key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		_ = req.ParseForm()
		begun, ok := r.codes[req.PostForm.Get("code")]
		delete(r.codes, req.PostForm.Get("code"))
		sum := sha256.Sum256([]byte(req.PostForm.Get("code_verifier")))
		id, secret, basic := req.BasicAuth()
		if !ok || begun.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || begun.Get("redirect_uri") != req.PostForm.Get("redirect_uri") ||
			!basic || id != client || secret != url.QueryEscape(r.secret) {
			answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
			return
		}
		c := map[string]any{
			"iss": r.url, "sub": "mara", "aud": client, "iat": now().Unix(), "exp": now().Add(time.Hour).Unix(), "nonce": begun.Get("nonce"),
			"auth_time": now().Unix(), "groups": []string{"reef-responders", "staff"}, "email": "mara@example.com", "email_verified": true,
		}
		if r.claims != nil {
			r.claims(c)
		}
		sign := r.sign
		if sign == nil {
			sign = func(c map[string]any) string { return signed(jose.RS256, "k", r.key, c) }
		}
		answer(w, http.StatusOK, map[string]any{"access_token": "an access token", "token_type": "Bearer", "expires_in": 60, "id_token": sign(c)})
	})
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		answer(w, http.StatusOK, r.told)
	})
	mux.HandleFunc("GET /elsewhere", func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, "/jwks", http.StatusFound) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

func signed(alg jose.SignatureAlgorithm, kid string, key any, claims any) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
	if err != nil {
		panic(err)
	}
	raw, _ := json.Marshal(claims)
	object, err := s.Sign(raw)
	if err != nil {
		panic(err)
	}
	text, _ := object.CompactSerialize()
	return text
}

// unsigned makes a token that says that nobody has signed it (RFC 8725 §2.1).
func unsigned(claims any) string {
	raw, _ := json.Marshal(claims)
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k"}`)) + "." + base64.RawURLEncoding.EncodeToString(raw) + "."
}

func (r *rogue) config(now func() time.Time) idp.Config {
	return idp.Config{
		Issuer: r.url, ClientID: client, ClientSecret: r.secret, MaxAge: 8 * time.Hour, Redirect: func() string { return redirect },
		Roles:     map[string]gate.OperatorRoles{"reef-responders": gate.OperatorResponder, "reef-auditors": gate.OperatorAuditor},
		Transport: egress.New(egress.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}), Key: make([]byte, 32), Clock: now,
	}
}

func ruleOf(err error) string {
	if err == nil {
		return ""
	}
	return act.AsError(err).Rule
}

// One sign-in, with the one thing that is wrong about it.
func TestSignIns(t *testing.T) {
	type change struct {
		meta   func(map[string]any)
		config func(*idp.Config)
		begun  idp.Begun
		later  time.Duration // how long the human takes
		cookie func(own, others string) string
		answer func(url.Values)
		claims func(map[string]any)
		sign   func(*rogue) func(map[string]any) string
		told   map[string]any
		rule   string
		none   bool // nothing that is said of them is a role here
	}
	say := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
	}
	start := time.Now().Truncate(time.Second)
	again := idp.Begun{Next: "/account", Operator: 7, Session: 9}
	for name, c := range map[string]change{
		"good":                       {},
		"who has to come back":       {begun: again},
		"another order of groups":    {claims: say("groups", []string{"staff", "reef-responders"})},
		"one group as a text":        {claims: say("groups", "reef-responders")},
		"a claim within another":     {config: func(c *idp.Config) { c.Claim = "realm.roles" }, claims: say("realm", map[string]any{"roles": []string{"reef-responders"}})},
		"a claim with a dotted name": {config: func(c *idp.Config) { c.Claim = "https://reef.example/roles" }, claims: say("https://reef.example/roles", []string{"reef-responders"})},
		"groups told elsewhere":      {claims: say("groups", nil), told: map[string]any{"sub": "mara", "groups": []string{"reef-responders"}}},
		"by mail address": {config: func(c *idp.Config) {
			c.Claim, c.Roles = "email", map[string]gate.OperatorRoles{"mara@example.com": gate.OperatorResponder}
		}},
		"several audiences, for us": {claims: func(c map[string]any) { c["aud"], c["azp"] = []string{client, "other"}, client }},

		"no cookie":                {cookie: func(string, string) string { return "" }, rule: "sign-in.state"},
		"another browser's cookie": {cookie: func(_, others string) string { return others }, rule: "sign-in.state"},
		"a cookie of nobody":       {cookie: func(own, _ string) string { return own[:len(own)-4] + "AAAA" }, rule: "sign-in.state"},
		"a cookie that is none":    {cookie: func(string, string) string { return strings.Repeat("x", 5000) }, rule: "sign-in.state"},
		"too late":                 {later: idp.Life + time.Minute, rule: "sign-in.state"},
		"wrong state":              {answer: func(v url.Values) { v.Set("state", "guessed") }, rule: "sign-in.state"},
		"no state":                 {answer: func(v url.Values) { v.Del("state") }, rule: "sign-in.state"},
		"two states":               {answer: func(v url.Values) { v.Add("state", "x") }, rule: "sign-in.answer"},
		"two codes":                {answer: func(v url.Values) { v.Add("code", "x") }, rule: "sign-in.answer"},
		"no code":                  {answer: func(v url.Values) { v.Del("code") }, rule: "sign-in.answer"},
		"another code":             {answer: func(v url.Values) { v.Set("code", "stolen") }, rule: "sign-in.code"},
		"the human said no":        {answer: func(v url.Values) { v.Set("error", "access_denied") }, rule: "sign-in.denied"},
		"mix-up":                   {answer: func(v url.Values) { v.Set("iss", "https://evil.example") }, rule: "sign-in.issuer"},
		"no issuer in the answer":  {answer: func(v url.Values) { v.Del("iss") }, rule: "sign-in.issuer"},

		"wrong nonce":        {claims: say("nonce", "another"), rule: "sign-in.nonce"},
		"no nonce":           {claims: say("nonce", nil), rule: "sign-in.nonce"},
		"wrong issuer":       {claims: say("iss", "https://evil.example"), rule: "sign-in.token"},
		"wrong audience":     {claims: say("aud", "other"), rule: "sign-in.token"},
		"several audiences":  {claims: say("aud", []string{client, "other"}), rule: "sign-in.token"},
		"made for another":   {claims: say("azp", "other"), rule: "sign-in.token"},
		"expired":            {claims: say("exp", start.Add(-time.Minute).Unix()), rule: "sign-in.token"},
		"no end":             {claims: say("exp", nil), rule: "sign-in.token"},
		"from yesterday":     {claims: say("iat", start.Add(-24*time.Hour).Unix()), rule: "sign-in.token"},
		"from tomorrow":      {claims: say("iat", start.Add(24*time.Hour).Unix()), rule: "sign-in.token"},
		"nobody":             {claims: say("sub", ""), rule: "sign-in.token"},
		"another token hash": {claims: say("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), rule: "sign-in.token"},
		"no token":           {sign: func(*rogue) func(map[string]any) string { return func(map[string]any) string { return "" } }, rule: "sign-in.token"},
		"not a token":        {sign: func(*rogue) func(map[string]any) string { return func(map[string]any) string { return "x.y.z" } }, rule: "sign-in.token"},
		"alg none":           {sign: func(*rogue) func(map[string]any) string { return func(c map[string]any) string { return unsigned(c) } }, rule: "sign-in.token"},
		"alg HS256 by the secret": {sign: func(r *rogue) func(map[string]any) string {
			return func(c map[string]any) string { return signed(jose.HS256, "k", []byte(r.secret), c) }
		}, rule: "sign-in.token"},
		"alg HS256 by the public key": {sign: func(r *rogue) func(map[string]any) string {
			return func(c map[string]any) string { return signed(jose.HS256, "k", r.key.N.Bytes(), c) }
		}, rule: "sign-in.token"},
		"a key that is not published": {sign: func(r *rogue) func(map[string]any) string {
			return func(c map[string]any) string { return signed(jose.RS256, "k", r.other, c) }
		}, rule: "sign-in.token"},
		"another kind of key": {sign: func(*rogue) func(map[string]any) string {
			key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			return func(c map[string]any) string { return signed(jose.ES256, "k", crypto.Signer(key), c) }
		}, rule: "sign-in.token"},
		"somebody else's groups": {claims: say("groups", nil), told: map[string]any{"sub": "otto", "groups": []string{"reef-responders"}}, rule: "sign-in.token"},

		"no group of ours":  {claims: say("groups", []string{"staff"}), none: true},
		"a group like ours": {claims: say("groups", []string{"reef-responders ", "Reef-Responders", "xreef-responders"}), none: true},
		"no groups":         {claims: say("groups", nil), told: map[string]any{"sub": "mara"}, none: true},
		"groups of a sort":  {claims: say("groups", map[string]any{"reef-responders": true}), none: true},
		"a mail not verified": {config: func(c *idp.Config) {
			c.Claim, c.Roles = "email", map[string]gate.OperatorRoles{"mara@example.com": gate.OperatorAdmin}
		}, claims: say("email_verified", false), rule: "sign-in.mail"},
		"a mail of no account": {config: func(c *idp.Config) {
			c.Claim, c.Roles = "email", map[string]gate.OperatorRoles{"mara@example.com": gate.OperatorAdmin}
		}, claims: say("email_verified", nil), rule: "sign-in.mail"},

		"not asked again":           {begun: again, claims: say("auth_time", start.Add(-time.Hour).Unix()), rule: "sign-in.stale"},
		"asked again, nobody knows": {begun: again, claims: say("auth_time", nil), rule: "sign-in.stale"},
		"signed in long ago":        {claims: say("auth_time", start.Add(-9*time.Hour).Unix()), rule: "sign-in.stale"},
		"signs in tomorrow":         {claims: say("auth_time", start.Add(time.Hour).Unix()), rule: "sign-in.stale"},

		"metadata of another":     {meta: say("issuer", "https://evil.example"), rule: "sign-in.provider"},
		"a token endpoint bare":   {meta: say("token_endpoint", "http://idp.example/token"), rule: "sign-in.provider"},
		"keys that are not there": {meta: func(m map[string]any) { m["jwks_uri"] = m["issuer"].(string) + "/nowhere" }, rule: "sign-in.provider"},
		"keys in the clear":       {meta: say("jwks_uri", "http://idp.example/jwks"), rule: "sign-in.provider"},
		"keys inside our house":   {meta: say("jwks_uri", "https://169.254.169.254/latest"), rule: "sign-in.provider"},
		"keys behind a redirect":  {meta: func(m map[string]any) { m["jwks_uri"] = m["issuer"].(string) + "/elsewhere" }, rule: "sign-in.provider"},
		"may not be reached":      {config: func(c *idp.Config) { c.Transport = egress.New(egress.Config{}) }, rule: "sign-in.provider"},
	} {
		t.Run(name, func(t *testing.T) {
			now := start
			clock := func() time.Time { return now }
			r := newRogue(t, func() time.Time { return start })
			r.meta, r.claims, r.told = c.meta, c.claims, c.told
			if c.sign != nil {
				r.sign = c.sign(r)
			}
			cfg := r.config(clock)
			if c.config != nil {
				c.config(&cfg)
			}
			p := must[*idp.Provider](t)(idp.New(cfg))
			ctx := context.Background()
			check := func(who identity.Person, b idp.Begun, err error) {
				t.Helper()
				if got := ruleOf(err); got != c.rule {
					t.Fatalf("%q (%v), want %q", got, err, c.rule)
				}
				want := gate.OperatorResponder
				if c.none {
					want = 0
				}
				if e := act.AsError(err); err != nil && (e.Hint == "" || e.Code == act.Internal || !reflect.DeepEqual(who, identity.Person{})) {
					t.Errorf("refused with %v, hint %q, and %+v", e.Code, e.Hint, who)
				}
				if err == nil && (who.Issuer != r.url || who.Subject != "mara" || who.Name != "mara@example.com" || who.Roles != want ||
					who.AuthAt != act.Micros(start) || who.Once == "" || b.Next != c.begun.Next || b.Session != c.begun.Session || b.Operator != c.begun.Operator) {
					t.Errorf("%+v %+v", who, b)
				}
			}
			address, cookie, err := p.Begin(ctx, c.begun)
			if err != nil {
				check(identity.Person{}, idp.Begun{}, err)
				return
			}
			_, others, err := p.Begin(ctx, c.begun)
			if err != nil {
				t.Fatal(err)
			}
			u := must[*url.URL](t)(url.Parse(address))
			q := u.Query()
			if u.Path != "/authorize" || q.Get("redirect_uri") != redirect || q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" ||
				!strings.Contains(q.Get("scope"), "openid") || len(q.Get("state")) < 40 || len(q.Get("nonce")) < 40 || strings.Contains(cookie, q.Get("state")) ||
				c.begun.Operator != 0 && (q.Get("prompt") != "login" || q.Get("max_age") != "0") {
				t.Fatalf("the browser is sent to %s", address)
			}
			r.codes["code"] = q
			answer := url.Values{"code": {"code"}, "state": {q.Get("state")}, "iss": {r.url}}
			if c.answer != nil {
				c.answer(answer)
			}
			if c.cookie != nil {
				cookie = c.cookie(cookie, others)
			}
			now = now.Add(c.later)
			who, b, err := p.Finish(ctx, cookie, answer)
			check(who, b, err)
			if c.rule == "" {
				_, _, err := p.Finish(ctx, cookie, answer)
				if ruleOf(err) != "sign-in.code" {
					t.Errorf("a code that was taken before: %v", err)
				}
			}
		})
	}
}

// The team is what one claim says, in the ID token or at the userinfo endpoint.
func TestTeams(t *testing.T) {
	start := time.Now().Truncate(time.Second)
	for name, c := range map[string]struct {
		claim, want string
		value       any
		told        map[string]any
		silent      bool
	}{
		"a text":              {claim: "team", value: "pricing", want: "pricing"},
		"no team":             {claim: "team", value: "", want: ""},
		"a list of one":       {claim: "team", value: []string{"pricing"}, want: "pricing"},
		"an empty list":       {claim: "team", value: []string{}, want: ""},
		"a list of two":       {claim: "team", value: []string{"pricing", "stock"}, silent: true},
		"something else":      {claim: "team", value: 7, silent: true},
		"nothing":             {claim: "team", told: map[string]any{"sub": "mara"}, silent: true},
		"told elsewhere":      {claim: "team", told: map[string]any{"sub": "mara", "team": "pricing"}, want: "pricing"},
		"nobody asks for it":  {value: "pricing", silent: true},
		"one within another":  {claim: "org.team", told: map[string]any{"sub": "mara", "org": map[string]any{"team": "pricing"}}, want: "pricing"},
		"another claim's one": {claim: "unit", value: "pricing", told: map[string]any{"sub": "mara"}, silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRogue(t, func() time.Time { return start })
			r.told = c.told
			r.claims = func(said map[string]any) {
				if c.value != nil {
					said["team"] = c.value
				}
			}
			cfg := r.config(func() time.Time { return start })
			cfg.Team = c.claim
			p := must[*idp.Provider](t)(idp.New(cfg))
			address, cookie, err := p.Begin(t.Context(), idp.Begun{})
			if err != nil {
				t.Fatal(err)
			}
			q := must[*url.URL](t)(url.Parse(address)).Query()
			r.codes["code"] = q
			who, _, err := p.Finish(t.Context(), cookie, url.Values{"code": {"code"}, "state": {q.Get("state")}, "iss": {r.url}})
			if err != nil || c.silent != (who.Team == nil) || who.Team != nil && *who.Team != c.want {
				t.Errorf("%+v, %v", who, err)
			}
		})
	}
}

// A provider that is down keeps nobody waiting, and is asked again after a while.
func TestProviderComesBack(t *testing.T) {
	now := time.Now()
	r := newRogue(t, func() time.Time { return now })
	down := true
	r.meta = func(m map[string]any) {
		if down {
			m["issuer"] = ""
		}
	}
	p := must[*idp.Provider](t)(idp.New(r.config(func() time.Time { return now })))
	for range 2 {
		_, _, err := p.Begin(t.Context(), idp.Begun{})
		if ruleOf(err) != "sign-in.provider" || act.CodeOf(err) != act.Unavailable || act.AsError(err).RetryAfter <= 0 {
			t.Fatal(err)
		}
		r.mu.Lock()
		down = false
		r.mu.Unlock()
	}
	now = now.Add(time.Minute)
	if _, _, err := p.Begin(t.Context(), idp.Begun{}); err != nil {
		t.Error(err)
	}
	if _, _, err := p.Begin(t.Context(), idp.Begun{Next: "/" + strings.Repeat("x", 5000)}); ruleOf(err) != "sign-in.next" {
		t.Errorf("a cookie that no browser keeps: %v", err)
	}
}

// Whoever waits while a provider hangs is told what came of that, and does not wait for
// a try of their own.
func TestHangingProviderIsAskedOnce(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	r := newRogue(t, clock)
	asked, waiting := 0, make(chan struct{}, 2)
	r.meta = func(m map[string]any) {
		if asked++; asked == 1 {
			<-waiting // the others
			<-waiting
		}
		mu.Lock()
		now = now.Add(time.Minute)
		mu.Unlock()
		m["issuer"] = ""
	}
	p := must[*idp.Provider](t)(idp.New(r.config(clock)))
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			select {
			case waiting <- struct{}{}:
			default: // two are enough
			}
			if _, _, err := p.Begin(t.Context(), idp.Begun{}); ruleOf(err) != "sign-in.provider" {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if asked != 1 {
		t.Errorf("the provider was asked %d times", asked)
	}
}

func TestConfig(t *testing.T) {
	r := newRogue(t, time.Now)
	good := r.config(time.Now)
	if _, err := idp.New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*idp.Config){
		"http":            func(c *idp.Config) { c.Issuer = "http://idp.example" },
		"no host":         func(c *idp.Config) { c.Issuer = "https://" },
		"a user":          func(c *idp.Config) { c.Issuer = "https://a@idp.example" },
		"a query":         func(c *idp.Config) { c.Issuer = "https://idp.example/?x" },
		"no client":       func(c *idp.Config) { c.ClientID = "" },
		"a role of none":  func(c *idp.Config) { c.Roles = map[string]gate.OperatorRoles{"x": 0} },
		"a value of none": func(c *idp.Config) { c.Roles = map[string]gate.OperatorRoles{"": gate.OperatorAdmin} },
		"a role unknown":  func(c *idp.Config) { c.Roles = map[string]gate.OperatorRoles{"x": 1 << 7} },
		"a short key":     func(c *idp.Config) { c.Key = make([]byte, 5) },
		"no age":          func(c *idp.Config) { c.MaxAge = 0 },
	} {
		c := good
		c.Roles = maps.Clone(good.Roles)
		spoil(&c)
		if _, err := idp.New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
