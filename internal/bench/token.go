package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reefwarden/reefwarden/internal/identity/token"
)

const (
	tokenMost    = 8000 // requests that are prepared for two seconds; a proof is good for half a minute
	tokenSeconds = 60   // of a repetition
	tokenBatch   = 64   // turns that one reading of the clock is for
	tokenBytes   = 480  // what a token has before its signature

	tokenIssuer = "https://reef.example"
	tokenPath   = "/oauth/token"
	tokenCall   = "/v1/me"
)

// deal is a thing that is timed, beside the signatures that nothing can do without.
// What it needs is made for each repetition, and not timed: that is the holder's cost.
type deal struct {
	name       string
	most       int // how often it can be done with what was prepared; 0 without an end
	prepare    func(n int) error
	do         func(i int) error
	signatures func()
	committed  bool // it waits for a commit: done by many at once, timed as a whole
}

// timing is what the repetitions of a deal gave.
type timing struct {
	ours, ratio, allocs []float64
	n                   int64
}

// tokens measures what tokens cost: `reef bench token`. First their mechanics alone,
// for both algorithms; then the product, at each size.
func tokens(r *runner, ctx context.Context) error {
	if r.seconds > tokenSeconds {
		return badFlag("seconds", fmt.Sprintf("tokens live for five minutes: give %d at most", tokenSeconds))
	}
	for _, alg := range []token.Algorithm{token.EdDSA, token.ES256} {
		m, err := newMechanics(alg)
		if err != nil {
			return err
		}
		if _, err := r.deals(figure{Side: alg.String(), Data: "no storage"}, m.deals()); err != nil {
			return err
		}
	}
	for _, db := range r.dbs {
		if err := r.tokensOn(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	return nil
}

// deals measures a list of deals in turns: each repetition does all of them, and each
// alternates with its signatures.
func (r *runner) deals(f figure, list []deal) (map[string]*timing, error) {
	got := make(map[string]*timing, len(list))
	for rep := range r.reps {
		for _, d := range list {
			t := got[d.name]
			if t == nil {
				t = &timing{}
				got[d.name] = t
			}
			if err := r.deal(d, t); err != nil {
				return nil, fmt.Errorf("%s: %w", d.name, err)
			}
			r.say("%s %s %d/%d %-20s %9.2f µs, ratio %.2f, %.0f objects", f.DB, f.Side, rep+1, r.reps, d.name, t.ours[rep], t.ratio[rep], t.allocs[rep])
		}
	}
	for _, d := range list {
		t := got[d.name]
		f.Variant = d.name
		for _, m := range []struct {
			metric, unit string
			of           []float64
		}{{"time_per_op", "µs", t.ours}, {"allocs_per_op", "objects", t.allocs}} {
			f.Metric = m.metric
			if err := r.press.put(f.with(spreadOf(m.of), m.unit, len(m.of), t.n)); err != nil {
				return nil, err
			}
		}
		f.Metric = "ratio_bare"
		if err := r.press.put(f.with(spreadOf(t.ratio), "ratio", len(t.ratio), t.n).against("the signatures alone", median(t.ratio))); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// deal is one repetition.
func (r *runner) deal(d deal, t *timing) error {
	most := d.most
	if most > 0 {
		most = min(most, max(4*tokenBatch, int(r.seconds/2*float64(most))))
	}
	if d.prepare != nil {
		if err := d.prepare(most); err != nil {
			return err
		}
	}
	n := 0
	var before, after runtime.MemStats
	once := func(k int) error { // the next k
		for range k {
			if err := d.do(n); err != nil {
				return err
			}
			n++
		}
		return nil
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := once(tokenBatch); err != nil {
		return err
	}
	runtime.ReadMemStats(&after)
	t.allocs = append(t.allocs, float64(after.Mallocs-before.Mallocs)/tokenBatch)

	var ours, bare time.Duration
	from := n
	if d.committed {
		var err error
		if ours, err = r.together(func(i int) error { return d.do(from + i) }, most-from); err != nil {
			return err
		}
		if bare, err = r.together(func(int) error { d.signatures(); return nil }, most-from); err != nil {
			return err
		}
		n = most
	} else {
		for end := time.Now().Add(r.span()); time.Now().Before(end) && (most == 0 || n+tokenBatch <= most); {
			start := time.Now()
			if err := once(tokenBatch); err != nil {
				return err
			}
			middle := time.Now()
			for range tokenBatch {
				d.signatures()
			}
			ours, bare = ours+middle.Sub(start), bare+time.Since(middle)
		}
	}
	t.n += int64(n - from)
	t.ours = append(t.ours, float64(ours.Nanoseconds())/float64(n-from)/1000)
	t.ratio = append(t.ratio, float64(bare)/float64(ours))
	return nil
}

// together does a thing n times, by as many at once as there are connections, and
// returns the time for all.
func (r *runner) together(do func(int) error, n int) (time.Duration, error) {
	var next atomic.Int64
	var g errgroup.Group
	start := time.Now()
	for range r.conns {
		g.Go(func() error {
			for {
				i := int(next.Add(1) - 1)
				if i >= n {
					return nil
				}
				if err := do(i); err != nil {
					return err
				}
			}
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

// signer is a key in the two forms in which it is timed.
type signer struct {
	key          token.Private
	sign, verify func()
}

func newSigner(alg token.Algorithm) (s signer, err error) {
	message := make([]byte, tokenBytes)
	if alg == token.ES256 {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return s, err
		}
		sum := sha256.Sum256(message)
		sig, err := ecdsa.SignASN1(rand.Reader, k, sum[:])
		if err != nil {
			return s, err
		}
		s.sign = func() { sum := sha256.Sum256(message); _, _ = ecdsa.SignASN1(rand.Reader, k, sum[:]) }
		s.verify = func() { sum := sha256.Sum256(message); ecdsa.VerifyASN1(&k.PublicKey, sum[:], sig) }
		s.key, err = token.PrivateFrom(k)
		return s, err
	}
	public, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return s, err
	}
	sig := ed25519.Sign(k, message)
	s.sign = func() { ed25519.Sign(k, message) }
	s.verify = func() { ed25519.Verify(public, message, sig) }
	s.key, err = token.PrivateFrom(k)
	return s, err
}

// mechanics is what a server does with a token besides storage.
type mechanics struct {
	signer
	set    *token.Set
	claims token.Claims
	seen   *token.Replay
	now    time.Time

	assertions, proofs, shown []string
	access                    []string
}

func newMechanics(alg token.Algorithm) (*mechanics, error) {
	s, err := newSigner(alg)
	if err != nil {
		return nil, err
	}
	m := &mechanics{signer: s, seen: token.NewReplay(time.Now, 1<<20)}
	if m.set, err = token.NewSet(s.key); err != nil {
		return nil, err
	}
	m.claims = token.Claims{
		Issuer: tokenIssuer, Subject: "a", Client: "a", Grant: "g", Confirm: token.Confirm{JKT: s.key.Public().Thumbprint()},
		Authority: token.Authority{Scope: "agent.me feed.read post.*", Audience: token.Audience{tokenIssuer}, Budget: token.Unbounded, Site: token.Everywhere, Depth: token.MaxDepth},
	}
	return m, nil
}

// prepare makes n tokens, and for each an assertion, a proof for the token endpoint
// and one for a call with the token.
func (m *mechanics) prepare(n int) (err error) {
	m.now = time.Now().UTC().Truncate(time.Second)
	m.claims.IssuedAt, m.claims.Expires = m.now, m.now.Add(5*time.Minute)
	m.assertions, m.proofs, m.shown, m.access = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i := range n {
		m.claims.ID = fmt.Sprintf("%d-%d", m.now.UnixNano(), i)
		if m.access[i], err = m.set.Sign(m.claims); err != nil {
			return err
		}
		if m.assertions[i], err = m.key.Assert("a", tokenIssuer, m.now); err != nil {
			return err
		}
		if m.proofs[i], err = m.key.Prove(token.Prove{Method: "POST", URL: tokenIssuer + tokenPath, Nonce: "n", Now: m.now}); err != nil {
			return err
		}
		if m.shown[i], err = m.key.Prove(token.Prove{Method: "GET", URL: tokenIssuer + tokenCall, AccessToken: m.access[i], Nonce: "n", Now: m.now}); err != nil {
			return err
		}
	}
	return nil
}

func (m *mechanics) once(owner, id string, until time.Time) error {
	if seen, err := m.seen.Seen(owner, id, until); err != nil || seen {
		return fmt.Errorf("seen %v: %w", seen, err)
	}
	return nil
}

func (m *mechanics) proof(i int) error {
	p, err := token.ReadProof(m.shown[i], token.Request{Method: "GET", URL: tokenIssuer + tokenCall, AccessToken: m.access[i], Now: m.now})
	if err == nil {
		err = m.claims.Confirm.CheckProof(p)
	}
	if err != nil {
		return err
	}
	return m.once(p.JKT, p.JTI, p.Until)
}

func (m *mechanics) verify1(i int) error {
	_, err := m.set.Read(m.access[i], token.Expect{Issuer: tokenIssuer, Audience: tokenIssuer, Now: m.now})
	return err
}

func (m *mechanics) deals() []deal {
	keys := []token.Public{m.key.Public()}
	at := token.AssertionExpect{Audience: tokenIssuer, Keys: func(string) ([]token.Public, error) { return keys, nil }}
	return []deal{
		{name: "issue", most: tokenMost, prepare: m.prepare, signatures: func() { m.verify(); m.verify(); m.sign() }, do: func(i int) error {
			at.Now = m.now
			a, err := token.ReadAssertion(m.assertions[i], at)
			if err != nil {
				return err
			}
			p, err := token.ReadProof(m.proofs[i], token.Request{Method: "POST", URL: tokenIssuer + tokenPath, Now: m.now})
			if err != nil {
				return err
			}
			if err := m.once(p.JKT, p.JTI, p.Until); err != nil {
				return err
			}
			c := m.claims
			c.ID, c.Confirm.JKT = a.ID, p.JKT
			_, err = m.set.Sign(c)
			return err
		}},
		{name: "verify_cold", most: tokenMost, prepare: m.prepare, signatures: m.verify, do: m.verify1},
		{name: "verify_cold_dpop", most: tokenMost, prepare: m.prepare, signatures: func() { m.verify(); m.verify() }, do: func(i int) error {
			if err := m.verify1(i); err != nil {
				return err
			}
			return m.proof(i)
		}},
		{name: "proof", most: tokenMost, prepare: m.prepare, signatures: m.verify, do: m.proof},
	}
}

// someOf picks numbers below n, the same ones for the same n.
func someOf(n, count int) []int {
	rnd := mathrand.New(mathrand.NewPCG(7, uint64(n))) //nolint:gosec // whose token is shown
	list := make([]int, count)
	for i := range list {
		list[i] = rnd.IntN(n)
	}
	return list
}
