package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// bare is the cost of the signature alone, which nothing can do without.
type bare struct {
	name         string
	key          token.Private
	sign, verify func()
}

func bares(b *testing.B) []bare {
	message := make([]byte, 480) // what a token has before its signature
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(b, err)
	a := newActors(b)
	edSig := ed25519.Sign(ed, message)
	sum := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, a.ec, sum[:])
	must(b, err)
	edKey, err := token.PrivateFrom(ed)
	must(b, err)
	ecKey, err := token.PrivateFrom(a.ec)
	must(b, err)
	return []bare{
		{
			"EdDSA", edKey,
			func() { ed25519.Sign(ed, message) },
			func() { ed25519.Verify(ed.Public().(ed25519.PublicKey), message, edSig) },
		},
		{
			"ES256", ecKey,
			func() {
				sum := sha256.Sum256(message)
				_, _, _ = ecdsa.Sign(rand.Reader, a.ec, sum[:])
			},
			func() {
				sum := sha256.Sum256(message)
				ecdsa.Verify(&a.ec.PublicKey, sum[:], r, s)
			},
		},
	}
}

// against times do and the bare signatures that it needs in turns, in one run,
// and reports how much of the bare rate is left. Medians: a busy machine takes
// the processor away in the middle of some turns.
func against(b *testing.B, do func(), signatures ...func()) {
	allocs := testing.AllocsPerRun(20, do)
	var ours, theirs []time.Duration
	for b.Loop() { // a pass of the loop is a turn of each
		start := time.Now()
		do()
		middle := time.Now()
		for _, s := range signatures {
			s()
		}
		ours, theirs = append(ours, middle.Sub(start)), append(theirs, time.Since(middle))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	a, z := ours[len(ours)/2], theirs[len(theirs)/2]
	b.ReportMetric(float64(a.Nanoseconds())/1000, "µs")
	b.ReportMetric(float64(z.Nanoseconds())/1000, "µs-bare")
	b.ReportMetric(float64(z)/float64(a), "ratio")
	b.ReportMetric(allocs, "allocs")
	b.ReportMetric(0, "ns/op") // of a turn of both: says nothing
}

// BenchmarkIssue signs an access token.
func BenchmarkIssue(b *testing.B) {
	for _, raw := range bares(b) {
		b.Run(raw.name, func(b *testing.B) {
			set, c := newSet(b, raw.key), exampleClaims()
			against(b, func() { _, _ = set.Sign(c) }, raw.sign)
		})
	}
}

// BenchmarkIssueWhole does what the token endpoint does besides storage: verify
// the client's assertion and its proof, remember both, sign. Bare are two
// verifications and a signature.
func BenchmarkIssueWhole(b *testing.B) {
	for _, raw := range bares(b) {
		b.Run(raw.name, func(b *testing.B) {
			set, c := newSet(b, raw.key), exampleClaims()
			public := raw.key.Public()
			text, err := raw.key.Assert("agent-a", issuer, now)
			must(b, err)
			proof, err := raw.key.Prove(token.Prove{Method: "POST", URL: issuer + "/oauth/token", Nonce: "n", Now: now})
			must(b, err)
			keys := []token.Public{public}
			against(b, func() {
				_, err1 := token.ReadAssertion(text, token.AssertionExpect{Audience: issuer, Now: now, Keys: func(string) ([]token.Public, error) { return keys, nil }})
				p, err2 := token.ReadProof(proof, token.Request{Method: "POST", URL: issuer + "/oauth/token", Now: now})
				c.Confirm.JKT = p.JKT
				_, err3 := set.Sign(c)
				if err1 != nil || err2 != nil || err3 != nil {
					b.Fatal(err1, err2, err3)
				}
			}, raw.verify, raw.verify, raw.sign)
		})
	}
}

// BenchmarkVerifyCold reads an access token that is in no cache.
func BenchmarkVerifyCold(b *testing.B) {
	for _, raw := range bares(b) {
		b.Run(raw.name, func(b *testing.B) {
			set := newSet(b, raw.key)
			text, err := set.Sign(exampleClaims())
			must(b, err)
			against(b, func() { _, _ = set.Read(text, atIssuer) }, raw.verify)
		})
	}
}

// BenchmarkVerifyColdByGoJose is the library's own way, with fewer checks.
func BenchmarkVerifyColdByGoJose(b *testing.B) {
	for _, raw := range bares(b) {
		b.Run(raw.name, func(b *testing.B) {
			text, err := newSet(b, raw.key).Sign(exampleClaims())
			must(b, err)
			alg, key := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(raw.name)}, raw.key.Public().Key()
			against(b, func() {
				parsed, err := jwt.ParseSigned(text, alg)
				must(b, err)
				var c jwt.Claims
				must(b, parsed.Claims(key, &c))
			}, raw.verify)
		})
	}
}

// BenchmarkVerifyProof reads a DPoP proof and remembers it.
func BenchmarkVerifyProof(b *testing.B) {
	for _, raw := range bares(b) {
		b.Run(raw.name, func(b *testing.B) {
			replay := token.NewReplay(newHand().now, 1000)
			proof, err := raw.key.Prove(token.Prove{Method: "GET", URL: resource, AccessToken: accessToken, Nonce: "n", Now: now})
			must(b, err)
			r := token.Request{Method: "GET", URL: resource, AccessToken: accessToken, Now: now}
			against(b, func() {
				p, err := token.ReadProof(proof, r)
				must(b, err)
				_, _ = replay.Seen(p.JKT, p.JTI, p.Until)
			}, raw.verify)
		})
	}
}

// BenchmarkVerifyColdWithProof is a request with a token that is in no cache.
func BenchmarkVerifyColdWithProof(b *testing.B) {
	for _, raw := range bares(b) {
		b.Run(raw.name, func(b *testing.B) {
			set, c := newSet(b, raw.key), exampleClaims()
			c.Confirm.JKT = raw.key.Public().Thumbprint()
			text, err := set.Sign(c)
			must(b, err)
			proof, err := raw.key.Prove(token.Prove{Method: "GET", URL: resource, AccessToken: text, Nonce: "n", Now: now})
			must(b, err)
			r := token.Request{Method: "GET", URL: resource, AccessToken: text, Now: now}
			against(b, func() {
				c, err := set.Read(text, atIssuer)
				must(b, err)
				p, err := token.ReadProof(proof, r)
				must(b, err)
				must(b, c.Confirm.CheckProof(p))
			}, raw.verify, raw.verify)
		})
	}
}

// BenchmarkProve makes a proof, the holder's share.
func BenchmarkProve(b *testing.B) {
	for _, raw := range bares(b) {
		b.Run(raw.name, func(b *testing.B) {
			against(b, func() {
				_, _ = raw.key.Prove(token.Prove{Method: "GET", URL: resource, AccessToken: accessToken, Nonce: "n", Now: now})
			}, raw.sign)
		})
	}
}

func BenchmarkScopeHas(b *testing.B) {
	scope := token.Scope("agent.me comment.* dm.read dm.send feed.read home.read post.* vote.cast")
	b.ReportAllocs()
	for b.Loop() {
		if !scope.Has("vote.cast") {
			b.Fatal("not there")
		}
	}
}

func BenchmarkNonce(b *testing.B) {
	n := newNonces(b, 3)
	nonce := n.Make(now)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Check(nonce, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	h := newHand()
	r := token.NewReplay(h.now, 1_000_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i++; i%10_000 == 0 {
			h.add(time.Second)
		}
		id := [8]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
		if _, err := r.Seen(rfcJKT, string(id[:]), h.in(int64(i%30)+1)); err != nil {
			b.Fatal(err)
		}
	}
}
