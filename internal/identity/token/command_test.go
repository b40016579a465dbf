package token_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// baseCommand is a command by a's key, by hand.
func baseCommand(a actors) (h, c doc) {
	h = doc{{"alg", `"EdDSA"`}, {"kid", `"` + a.public.Thumbprint() + `"`}, {"typ", `"reef-command+jwt"`}}
	c = doc{
		{"aud", `"` + issuer + `"`}, {"do", `"agent.kill"`}, {"target", `{"agent":"one"}`}, {"reason", `"it spams"`}, {"jti", `"1"`},
		{"iat", at(0)}, {"exp", at(5 * time.Minute)},
	}
	return h, c
}

// knows returns what a network knows that has a's keys.
func (a actors) knows() token.CommandExpect {
	return token.CommandExpect{Audience: issuer, Now: now, Key: func(thumb string) (token.Public, error) {
		for _, k := range []token.Public{a.public, a.p256} {
			if k.Thumbprint() == thumb {
				return k, nil
			}
		}
		return token.Public{}, token.Refuse("command.key")
	}}
}

// What is signed here is read back, by either algorithm and for whatever target.
func TestCommandRoundTrip(t *testing.T) {
	t.Parallel()
	for _, alg := range []token.Algorithm{token.EdDSA, token.ES256} {
		key, err := token.NewKey(alg)
		must(t, err)
		x := token.CommandExpect{Audience: issuer, Now: now, Key: func(string) (token.Public, error) { return key.Public(), nil }}
		for _, reason := range []string{"spam", `"quoted" \ and` + "\nmore", strings.Repeat("\U0001F980", 500)} {
			order := token.Command{Audience: issuer, Act: "agent.pause", Target: token.Target{Kind: "agent", ID: "one"}, Reason: reason}
			text, signed, err := key.Command(order, 0, now)
			must(t, err)
			got, err := token.ReadCommand(text, x)
			if err != nil || got != signed || got.Reason != reason || got.Act != order.Act || got.Target != order.Target || got.KeyID != key.Public().Thumbprint() ||
				!got.IssuedAt.Equal(now) || got.Expires.Sub(now) != token.DefaultCommandLife || got.Until.Sub(got.Expires) != token.Skew || len(got.ID) < 20 {
				t.Errorf("%s: %+v came back as %+v, %v", alg, signed, got, err)
			}
			if shown, err := token.ShowCommand(text); err != nil || shown != signed {
				t.Errorf("%+v is shown as %+v, %v", signed, shown, err)
			}
			if _, again, _ := key.Command(order, 0, now); again.ID == signed.ID {
				t.Error("two commands have one id")
			}
		}
		for _, c := range []struct {
			target token.Target
			reason string
			life   time.Duration
			rule   string
		}{
			{token.Target{Kind: "agent", ID: "one"}, "r", token.MaxCommandLife, ""},
			{token.Target{Kind: "owner", ID: "acme"}, "r", time.Hour, ""},
			{token.Target{Kind: "agent", ID: "one"}, "r", token.MaxCommandLife + time.Second, "command.life"},
			{token.Target{Kind: "agent", ID: "one"}, "r", -time.Second, "command.life"},
			{token.Target{Kind: "agent", ID: "one"}, "r", time.Millisecond, "command.life"},
			{token.Target{Kind: "agent", ID: "one"}, "", time.Hour, "command.claims"},
			{token.Target{Kind: "agent", ID: "one"}, strings.Repeat("x", 3000), time.Hour, "command.claims"},
			{token.Target{Kind: strings.Repeat("x", 100), ID: "one"}, "r", time.Hour, "command.claims"},
		} {
			_, _, err := key.Command(token.Command{Audience: issuer, Act: "agent.kill", Target: c.target, Reason: c.reason}, c.life, now)
			if ruleOf(err) != c.rule || c.rule == "command.claims" && act.CodeOf(err) != act.Invalid {
				t.Errorf("%+v is signed with %v, want %q", c.target, err, c.rule)
			}
		}
	}
}

// T37: what is wrong with a command is refused by the rule that says what.
func TestCommandCorpus(t *testing.T) {
	t.Parallel()
	a := newActors(t)
	h, c := baseCommand(a)
	sign, x := byEd25519(a.ed), a.knows()
	if _, err := token.ReadCommand(compact(h.String(), c.String(), sign), x); err != nil {
		t.Fatalf("the base is refused: %v", err)
	}
	good := compact(h.String(), c.String(), sign)
	for name, k := range map[string]struct {
		text string
		rule string
	}{
		"nothing":                     {"", "command.malformed"},
		"two parts":                   {good[:strings.LastIndexByte(good, '.')], "command.malformed"},
		"four parts":                  {good + ".x", "command.malformed"},
		"padding":                     {good + "=", "command.malformed"},
		"a header of garbage":         {compact("{", c.String(), sign), "command.malformed"},
		"too long":                    {good + strings.Repeat("A", 8192), "command.size"},
		"no algorithm":                {compact(h.with("alg", `"none"`).String(), c.String(), unsigned), "command.algorithm"},
		"no algorithm, signed":        {compact(h.with("alg", `"none"`).String(), c.String(), sign), "command.algorithm"},
		"no alg":                      {compact(h.without("alg").String(), c.String(), sign), "command.algorithm"},
		"HMAC with the public key":    {compact(h.with("alg", `"HS256"`).String(), c.String(), byHMAC(a.public.JWK())), "command.algorithm"},
		"RSA":                         {compact(h.with("alg", `"RS256"`).String(), c.String(), sign), "command.algorithm"},
		"the other algorithm":         {compact(h.with("alg", `"ES256"`).String(), c.String(), byES256(a.ec)), "command.algorithm"},
		"no typ":                      {compact(h.without("typ").String(), c.String(), sign), "command.type"},
		"an access token":             {compact(h.with("typ", `"at+jwt"`).String(), c.String(), sign), "command.type"},
		"a client assertion":          {compact(h.with("typ", `"client-authentication+jwt"`).String(), c.String(), sign), "command.type"},
		"typ in capitals":             {compact(h.with("typ", `"REEF-COMMAND+JWT"`).String(), c.String(), sign), "command.type"},
		"a proof":                     {compact(h.with("typ", `"dpop+jwt"`).with("jwk", string(a.public.JWK())).String(), c.String(), sign), "command.type"},
		"its own key":                 {compact(h.with("jwk", string(a.public.JWK())).String(), c.String(), sign), "command.critical"},
		"crit":                        {compact(h.with("crit", `["x"]`).String(), c.String(), sign), "command.critical"},
		"jku":                         {compact(h.with("jku", `"https://evil.example"`).String(), c.String(), sign), "command.critical"},
		"x5c":                         {compact(h.with("x5c", `["x"]`).String(), c.String(), sign), "command.critical"},
		"alg twice":                   {compact(h.twice("alg", `"EdDSA"`).String(), c.String(), sign), "command.malformed"},
		"no kid":                      {compact(h.without("kid").String(), c.String(), sign), "command.key"},
		"a path as kid":               {compact(h.with("kid", `"../../etc/passwd"`).String(), c.String(), sign), "command.key"},
		"a query as kid":              {compact(h.with("kid", `"' OR 1=1 --"`).String(), c.String(), sign), "command.key"},
		"a kid that is longer":        {compact(h.with("kid", `"`+a.public.Thumbprint()+`A"`).String(), c.String(), sign), "command.key"},
		"a list of kids":              {compact(h.with("kid", `["`+a.public.Thumbprint()+`"]`).String(), c.String(), sign), "command.key"},
		"another key's kid":           {compact(h.with("alg", `"ES256"`).with("kid", `"`+a.p256.Thumbprint()+`"`).String(), c.String(), sign), "command.signature"},
		"another's signature":         {compact(h.String(), c.String(), byEd25519(a.other)), "command.signature"},
		"another payload":             {compact(h.String(), c.with("target", `{"agent":"two"}`).String(), func(string) []byte { return sign(good[:strings.LastIndexByte(good, '.')]) }), "command.signature"},
		"another network":             {compact(h.String(), c.with("aud", `"https://other.example"`).String(), sign), "command.audience"},
		"another network, nearly":     {compact(h.String(), c.with("aud", `"`+issuer+`/"`).String(), sign), "command.audience"},
		"networks":                    {compact(h.String(), c.with("aud", `["`+issuer+`"]`).String(), sign), "command.claims"},
		"expired":                     {compact(h.String(), c.with("iat", at(-6*time.Minute)).with("exp", at(-token.Skew)).String(), sign), "command.expired"},
		"expires now, clocks differ":  {compact(h.String(), c.with("iat", at(-6*time.Minute)).with("exp", at(time.Second-token.Skew)).String(), sign), ""},
		"from the future":             {compact(h.String(), c.with("iat", at(token.Skew+time.Second)).String(), sign), "command.early"},
		"from the edge of the future": {compact(h.String(), c.with("iat", at(token.Skew)).String(), sign), ""},
		"a day":                       {compact(h.String(), c.with("exp", at(24*time.Hour)).String(), sign), ""},
		"longer than a day":           {compact(h.String(), c.with("exp", at(24*time.Hour+time.Second)).String(), sign), "command.life"},
		"no life":                     {compact(h.String(), c.with("exp", at(0)).String(), sign), "command.life"},
		"a life backwards":            {compact(h.String(), c.with("iat", at(10*time.Second)).with("exp", at(0)).String(), sign), "command.life"},
		"a date as a text":            {compact(h.String(), c.with("exp", `"`+at(time.Minute)+`"`).String(), sign), "command.claims"},
		"a negative date":             {compact(h.String(), c.with("iat", "-1").String(), sign), "command.claims"},
		"a date in powers":            {compact(h.String(), c.with("exp", "1e12").String(), sign), "command.claims"},
		"no exp":                      {compact(h.String(), c.without("exp").String(), sign), "command.claims"},
		"no iat":                      {compact(h.String(), c.without("iat").String(), sign), "command.claims"},
		"no jti":                      {compact(h.String(), c.without("jti").String(), sign), "command.claims"},
		"an empty jti":                {compact(h.String(), c.with("jti", `""`).String(), sign), "command.claims"},
		"no act":                      {compact(h.String(), c.without("do").String(), sign), "command.claims"},
		"no reason":                   {compact(h.String(), c.without("reason").String(), sign), "command.claims"},
		"two acts":                    {compact(h.String(), c.twice("do", `"agent.pause"`).String(), sign), "command.claims"},
		"a condition":                 {compact(h.String(), c.with("approvals", "2").String(), sign), "command.claims"},
		"another claim in its place":  {compact(h.String(), c.without("reason").with("nbf", at(0)).String(), sign), "command.claims"},
		"no target":                   {compact(h.String(), c.with("target", `{}`).String(), sign), "command.claims"},
		"two targets":                 {compact(h.String(), c.with("target", `{"agent":"one","owner":"acme"}`).String(), sign), "command.claims"},
		"a target twice":              {compact(h.String(), c.with("target", `{"agent":"one","agent":"two"}`).String(), sign), "command.claims"},
		"a target as a text":          {compact(h.String(), c.with("target", `"one"`).String(), sign), "command.claims"},
		"a list of targets":           {compact(h.String(), c.with("target", `[{"agent":"one"}]`).String(), sign), "command.claims"},
		"a payload of garbage":        {compact(h.String(), "x", sign), "command.claims"},
	} {
		got, err := token.ReadCommand(k.text, x)
		if ruleOf(err) != k.rule || err != nil && got != (token.Command{}) {
			t.Errorf("%s: %q (%+v), want %q", name, ruleOf(err), got, k.rule)
		}
	}
	// Other kinds of targets are read as they are, for whoever refuses them.
	for raw, want := range map[string]token.Target{
		`{"owner":"acme"}`: {Kind: "owner", ID: "acme"}, `{"all":true}`: {Kind: "all"}, `{"agent":["one","two"]}`: {Kind: "agent"}, `{"\u0061gent":"one"}`: {Kind: "agent", ID: "one"},
	} {
		if got, err := token.ReadCommand(compact(h.String(), c.with("target", raw).String(), sign), x); err != nil || got.Target != want {
			t.Errorf("%s is %+v, %v", raw, got.Target, err)
		}
	}
	// The key's own word goes to the caller, and a key of another name is not used.
	x.Key = func(string) (token.Public, error) { return a.p256, nil }
	if _, err := token.ReadCommand(good, x); ruleOf(err) != "command.key" {
		t.Errorf("with another key: %v", err)
	}
}

// FuzzReadCommand gives ReadCommand a text as it is, and a header and payload under a
// good signature.
func FuzzReadCommand(f *testing.F) {
	key, private := fuzzKey(f)
	a := actors{ed: key, public: private.Public()}
	h, c := baseCommand(a)
	good, _, err := private.Command(token.Command{Audience: issuer, Act: "agent.kill", Target: token.Target{Kind: "agent", ID: "one"}, Reason: "spam"}, 0, now)
	must(f, err)
	f.Add(good, h.String(), c.String())
	f.Add("", h.with("alg", `"Ed25519"`).String(), c.with("target", `{"all":true}`).with("iat", at(0)+".5").String())
	f.Add(good+".", h.with("typ", `"at+jwt"`).String(), c.with("reason", `"\u0000"`).twice("do", `"x"`).String())
	f.Add(flattened(good), h.twice("jwk", "{}").String(), c.with("target", `{"agent":"one","owner":"x"}`).String())
	x := token.CommandExpect{Audience: issuer, Now: now, Key: func(string) (token.Public, error) { return private.Public(), nil }}
	f.Fuzz(func(t *testing.T, text, header, payload string) {
		for _, text := range []string{text, compact(header, payload, byEd25519(key))} {
			shown, bad := token.ShowCommand(text)
			got, err := token.ReadCommand(text, x)
			if err != nil {
				named(t, err, got == token.Command{})
				continue
			}
			if bad != nil || shown != got {
				t.Fatalf("%s is shown as %+v and read as %+v", text, shown, got)
			}
			claims := taken(t, text, key.Public().(ed25519.PublicKey))
			target, _ := claims["target"].(map[string]any)
			if len(claims) != 7 || len(target) != 1 || claims["aud"] != issuer || claims["do"] != got.Act || claims["jti"] != got.ID || claims["reason"] != got.Reason {
				t.Fatalf("%s was read as %+v", text, got)
			}
			if id, ok := target[got.Target.Kind]; !ok || got.Target.ID != "" && id != got.Target.ID {
				t.Fatalf("%s is aimed at %+v", text, got.Target)
			}
			if life := got.Expires.Sub(got.IssuedAt); life <= 0 || life > token.MaxCommandLife || !now.Before(got.Until) || now.Add(token.Skew).Before(got.IssuedAt) {
				t.Fatalf("%s lives %s until %s", text, life, got.Until)
			}
			// What was read can be signed, and is then the same.
			again, _, err := private.Command(got, got.Expires.Sub(got.IssuedAt), got.IssuedAt)
			if got.Target.ID == "" {
				continue // it was no text
			}
			if err != nil {
				t.Fatalf("%+v cannot be signed: %v", got, err)
			}
			if back, err := token.ShowCommand(again); err != nil || back.Target != got.Target || back.Reason != got.Reason || back.Act != got.Act {
				t.Fatalf("%+v came back as %+v, %v", got, back, err)
			}
		}
	})
}
