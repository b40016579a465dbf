package egress_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/egress"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// socketed is a Workload API that runs.
type socketed struct {
	addr  string
	ahead atomic.Int64 // of its clock
}

func socketOf(t *testing.T, m client.Member) *socketed {
	t.Helper()
	dir, err := os.MkdirTemp("", "reef-") // a socket's path is short
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	x := &socketed{addr: "unix://" + filepath.Join(dir, "w")}
	ctx, stop := context.WithCancel(context.Background())
	h, err := client.NewHolder(ctx, m, "", time.Now)
	check(t, err)
	l, err := egress.Listen(ctx, "unix:"+filepath.Join(dir, "w"), 0o600)
	check(t, err)
	w := egress.NewWorkload(egress.WorkloadConfig{
		Holder: h, Listener: l, Every: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Clock: func() time.Time { return time.Now().Add(time.Duration(x.ahead.Load())) },
	})
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		check(t, <-done)
		h.Close()
	})
	return x
}

// watcher keeps what go-spiffe's client is pushed.
type watcher struct {
	seen   chan *workloadapi.X509Context
	failed chan error
}

func (w *watcher) OnX509ContextUpdate(c *workloadapi.X509Context) { w.seen <- c }
func (w *watcher) OnX509ContextWatchError(err error) {
	select {
	case w.failed <- err:
	default:
	}
}

// go-spiffe's own client gets an agent's SVIDs and bundles from the socket, is told when
// they change, and speaks mTLS with them; a killed agent has none.
func TestThirdPartyWorkloadAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	m, other := enrolled(t, s, s.URL, "ada"), enrolled(t, s, s.URL, "bea")
	at, there := socketOf(t, m), socketOf(t, other)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := workloadapi.New(ctx, workloadapi.WithAddr(at.addr))
	check(t, err)
	defer c.Close() //nolint:errcheck // it only reads

	first, err := c.FetchX509Context(ctx)
	check(t, err)
	id := first.DefaultSVID().ID
	if want := "/agent/" + m.ID + "/inst/"; id.TrustDomain().Name() != s.Issuer.TrustDomain() || id.Path()[:len(want)] != want {
		t.Fatalf("the agent is %s", id)
	}

	// JWT-SVIDs, by two ways of checking them.
	text, err := c.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "https://board.example"})
	check(t, err)
	if text.ID != id {
		t.Errorf("the JWT-SVID is of %s", text.ID)
	}
	bundles, err := c.FetchJWTBundles(ctx)
	check(t, err)
	if _, err := jwtsvid.ParseAndValidate(text.Marshal(), bundles, []string{"https://board.example"}); err != nil {
		t.Error(err)
	}
	if said, err := c.ValidateJWTSVID(ctx, text.Marshal(), "https://board.example"); err != nil || said.ID != id {
		t.Errorf("validated: %v, %v", said, err)
	}
	if _, err := c.ValidateJWTSVID(ctx, text.Marshal(), "https://other.example"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("for another audience: %v", err)
	}
	if _, err := c.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "x", Subject: id.TrustDomain().ID()}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("for another id: %v", err)
	}

	// What changes is pushed: the SVID at half of its life, the bundle when keys turn.
	w := &watcher{seen: make(chan *workloadapi.X509Context, 1<<12), failed: make(chan error, 16)}
	var watching sync.WaitGroup
	watch, stop := context.WithCancel(ctx)
	watching.Go(func() { _ = c.WatchX509Context(watch, w) })
	defer watching.Wait()
	defer stop()
	next := func(what string, good func(*workloadapi.X509Context) bool) {
		t.Helper()
		for {
			select {
			case got := <-w.seen:
				if good(got) {
					return
				}
			case <-ctx.Done():
				t.Fatalf("it is not pushed: %s", what)
			}
		}
	}
	next("what there is", func(got *workloadapi.X509Context) bool { return got.DefaultSVID().ID == id })
	at.ahead.Add(int64(identity.DefaultSVIDLife/2 + time.Minute))
	next("the next SVID", func(got *workloadapi.X509Context) bool {
		now := got.DefaultSVID()
		if now.ID != id {
			t.Errorf("the instance is %s after %s", now.ID, id)
		}
		return now.Certificates[0].SerialNumber.Cmp(first.DefaultSVID().Certificates[0].SerialNumber) != 0 && !now.PrivateKey.Public().(interface{ Equal(x crypto.PublicKey) bool }).Equal(first.DefaultSVID().PrivateKey.Public())
	})
	at.ahead.Store(0)
	operator, err := s.Identity.Authenticate(ctx, s.Token)
	check(t, err)
	_, err = s.Issuer.Rotate.Do(ctx, operator, identity.Rotation{SVIDs: true, Reason: "a drill"})
	check(t, err)
	next("the coming key", func(got *workloadapi.X509Context) bool {
		b, ok := got.Bundles.Get(id.TrustDomain())
		return ok && len(b.X509Authorities()) == 2
	})

	// Two agents meet.
	mine, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(c))
	check(t, err)
	defer mine.Close() //nolint:errcheck // it only reads
	theirs, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(there.addr)))
	check(t, err)
	defer theirs.Close() //nolint:errcheck // it only reads
	them, err := theirs.GetX509SVID()
	check(t, err)
	l, r := net.Pipe()
	go func() {
		peer := tls.Server(r, tlsconfig.MTLSServerConfig(theirs, theirs, tlsconfig.AuthorizeID(id)))
		_, _ = peer.Write([]byte("hello"))
		_ = r.Close()
	}()
	if _, err := io.ReadFull(tls.Client(l, tlsconfig.MTLSClientConfig(mine, mine, tlsconfig.AuthorizeID(them.ID))), make([]byte, 5)); err != nil {
		t.Errorf("mTLS: %v", err)
	}
	_ = l.Close()

	// Who does not know the API gets nothing.
	raw, err := grpc.NewClient("unix:"+at.addr[len("unix://"):], grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	defer raw.Close() //nolint:errcheck // it only reads
	if _, err := workload.NewSpiffeWorkloadAPIClient(raw).FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"x"}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without the header: %v", err)
	}

	// A killed agent has no identity, and its programs are told.
	agent, err := s.Codec.ParseKind(m.ID, act.KindAgent)
	check(t, err)
	_, err = s.Lifecycle.Kill.Do(ctx, operator, lifecycle.Order{Agent: agent, Reason: "tried"})
	check(t, err)
	at.ahead.Store(int64(identity.DefaultSVIDLife/2 + time.Minute))
	for {
		_, err := c.FetchX509Context(ctx)
		if status.Code(err) == codes.PermissionDenied {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("a killed agent still has an SVID: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for told := false; !told; {
		select {
		case err := <-w.failed:
			told = status.Code(err) == codes.PermissionDenied
		case <-ctx.Done():
			t.Fatal("who watches is not told")
		}
	}
}
