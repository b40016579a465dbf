package server_test

import (
	"bytes"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Issue 5 §6.5: the key that signs access tokens is replaced again and again, while
// agents get tokens at one node and use them at both, each until shortly before its end.
// Nothing is refused, whichever key signed, and whoever reads the key set at the other
// node finds the key there.
func TestSigningKeysRotatedUnderLoad(t *testing.T) {
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyFile, cfg.NATS, cfg.PublicURL = filepath.Join(t.TempDir(), "network.key"), servertest.NATS(t).ClientURL(), "https://reef.example"
	var ahead atomic.Int64
	cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	cfg.Quotas = []string{"try=100000/1m", "token=100000/1m"}
	nodes := [2]*servertest.Server{servertest.Start(t, cfg)}
	cfg.Data = t.TempDir()
	nodes[1] = servertest.Open(t, cfg)

	var stop atomic.Bool
	var load sync.WaitGroup
	var used [2]atomic.Int64 // rounds of each agent
	var signers sync.Map     // ids of the keys that signed
	for i, m := range []member{enrol(t, nodes[0], "ada", token.EdDSA), enrol(t, nodes[0], "bea", token.ES256)} {
		load.Go(func() {
			defer stop.Store(true)
			home := &wire{t: t, s: nodes[i], handler: nodes[i].API.Handler(), sources: i << 15}
			away := &wire{t: t, s: nodes[1-i], handler: nodes[1-i].API.Handler(), sources: i << 15}
			var held string // a token that grows old
			var since time.Time
			for !stop.Load() {
				a, fresh := home.form(home.asks(m, grantClient), home.proof(m.key, ""))
				if a.Code != http.StatusOK {
					t.Errorf("a token: %d %s", a.Code, a.Body)
					return
				}
				header, _ := opened(t, fresh.Access)
				kid, _ := header["kid"].(string)
				signers.Store(kid, true)
				if set, err := away.s.Issuer.PublicKeys(); err != nil || !bytes.Contains(set, []byte(kid)) {
					t.Errorf("the other node does not publish %s: %v", kid, err)
				}
				if home.now().Sub(since) > identity.TokenLife-time.Minute {
					held, since = fresh.Access, home.now()
				}
				for _, w := range []*wire{home, away} {
					for age, text := range map[string]string{"fresh": fresh.Access, "old": held} {
						if a := w.call("DPoP "+text, w.proof(m.key, text)); a.Code != http.StatusOK {
							t.Errorf("a call with a token that is %s: %d %s", age, a.Code, a.Body)
							return
						}
					}
				}
				used[i].Add(1)
			}
		})
	}
	defer load.Wait()
	defer stop.Store(true)
	const rotations = 3
	const step = 20 * time.Second // of the clock, once in a round: less than a token that is used has left
	for n := range rotations {
		if _, err := nodes[n%2].Issuer.Rotate.Do(t.Context(), governor(t, nodes[0]), identity.Rotation{Reason: "drill"}); err != nil {
			t.Errorf("rotation %d: %v", n, err)
		}
		for range (identity.PublishAhead + identity.TokenLife) / step { // until what the earlier key signed has ended
			one, two := used[0].Load(), used[1].Load()
			eventually(t, "the load goes on", func() bool { return stop.Load() || used[0].Load() > one && used[1].Load() > two })
			for _, node := range nodes { // as the nodes' leases would in time
				if err := node.DB.Reserve(t.Context(), cfg.Clock().Add(step)); err != nil {
					t.Fatal(err)
				}
			}
			ahead.Add(int64(step))
		}
	}
	stop.Store(true)
	load.Wait()
	found := 0
	signers.Range(func(any, any) bool { found++; return true })
	if found != rotations+1 {
		t.Errorf("%d keys signed, want the first and %d more", found, rotations)
	}
}
