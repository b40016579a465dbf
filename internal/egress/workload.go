package egress

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

const (
	lookEvery    = time.Minute // keys are in the bundle long before they sign
	svidAgain    = time.Second // after a failure, doubling
	svidLongest  = 30 * time.Second
	maxWorkload  = 64 << 10 // bytes of a request
	maxStreams   = 256      // of a connection
	svidTries    = 15 * time.Second
	workloadMark = "workload.spiffe.io" // the header that no confused HTTP client sends (Workload API §4.2)
)

// WorkloadConfig says what a Workload API is made of. All fields but Every are required.
type WorkloadConfig struct {
	Holder   *client.Holder // the agent that it speaks for
	Listener net.Listener   // of Listen, a Unix socket
	Clock    act.Clock
	Every    time.Duration // the network is asked what has changed; a minute if 0
	Log      *slog.Logger
}

// Workload is the SPIFFE Workload API for the programs of one agent: they get its
// X.509-SVID with a key that is made here and never written down, its JWT-SVIDs, and
// the bundles, and are told when any of it changes. It speaks for the agent whose key
// its holder has, to whoever may open the socket.
type Workload struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	cfg WorkloadConfig

	mu      sync.Mutex
	held    *identityHeld // guarded by mu; nil while the network gives none
	refused error         // guarded by mu: why not, when it has said no
	changed chan struct{} // guarded by mu: closed when held or refused is another one
}

// identityHeld is what programs are given. It is never changed.
type identityHeld struct {
	id       spiffeid.ID
	instance string
	leaf     *x509.Certificate
	key      []byte // PKCS #8
	bundle   *spiffebundle.Bundle
}

// NewWorkload returns a Workload API. It serves when Run is called.
func NewWorkload(cfg WorkloadConfig) *Workload {
	if cfg.Every <= 0 {
		cfg.Every = lookEvery
	}
	return &Workload{cfg: cfg, changed: make(chan struct{})}
}

// Run serves until ctx ends.
func (w *Workload) Run(ctx context.Context) error {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxWorkload), grpc.MaxConcurrentStreams(maxStreams),
		grpc.UnaryInterceptor(func(ctx context.Context, in any, _ *grpc.UnaryServerInfo, do grpc.UnaryHandler) (any, error) {
			if err := marked(ctx); err != nil {
				return nil, err
			}
			return do(ctx, in)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, do grpc.StreamHandler) error {
			if err := marked(stream.Context()); err != nil {
				return err
			}
			return do(srv, stream)
		}))
	workload.RegisterSpiffeWorkloadAPIServer(s, w)
	var keeping sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	keeping.Go(func() { w.keep(ctx) })
	defer keeping.Wait()
	defer stop()
	defer context.AfterFunc(ctx, s.Stop)()
	err := s.Serve(w.cfg.Listener)
	if ctx.Err() != nil || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// marked checks the header that tells clients of this API from others.
func marked(ctx context.Context) error {
	if head, _ := metadata.FromIncomingContext(ctx); len(head.Get(workloadMark)) != 1 || head.Get(workloadMark)[0] != "true" {
		return status.Error(codes.InvalidArgument, "the header "+workloadMark+" is missing")
	}
	return nil
}

// keep renews what is held, each SVID at half of its life.
func (w *Workload) keep(ctx context.Context) {
	again := svidAgain
	for {
		wait := w.cfg.Every
		err := w.renew(ctx)
		if err != nil {
			wait, again = again, min(2*again, svidLongest)
			if ctx.Err() == nil {
				w.cfg.Log.WarnContext(ctx, "the network gives no SVID at the moment", slog.Any("err", err))
			}
		} else {
			again = svidAgain
			wait = min(wait, max(w.due(), svidAgain))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// due is how long the SVID that is held is not renewed yet.
func (w *Workload) due() time.Duration {
	held, _, _ := w.now()
	if held == nil {
		return 0
	}
	half := held.leaf.NotAfter.Sub(held.leaf.NotBefore) / 2
	return held.leaf.NotBefore.Add(half).Sub(w.cfg.Clock())
}

// renew gets another SVID when it is due, and the bundle in any case.
func (w *Workload) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, svidTries)
	defer cancel()
	old, _, _ := w.now()
	fresh, err := w.fresh(ctx, old)
	switch code := act.CodeOf(err); {
	case err == nil:
		if old != nil && old.leaf.Equal(fresh.leaf) && old.bundle.Equal(fresh.bundle) {
			return nil
		}
		w.publish(fresh, nil)
	case code == act.Unauthenticated || code == act.Denied || code == act.Gone:
		w.publish(nil, err) // it has said no: programs give up what they have
	case old != nil && !w.cfg.Clock().Before(old.leaf.NotAfter):
		w.publish(nil, nil)
	}
	return err
}

func (w *Workload) fresh(ctx context.Context, old *identityHeld) (*identityHeld, error) {
	api := w.cfg.Holder.Client()
	next := &identityHeld{}
	if old != nil {
		*next = *old
	}
	if w.due() <= 0 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			return nil, err
		}
		if next.key, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			return nil, err
		}
		got, err := api.IssueSVID(ctx, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})), next.instance)
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode([]byte(got.Certificate))
		if block == nil {
			return nil, act.Errorf(act.Unavailable, "the network's answer holds no certificate")
		}
		if next.leaf, err = x509.ParseCertificate(block.Bytes); err != nil {
			return nil, err
		}
		if next.id, err = spiffeid.FromString(got.ID); err != nil {
			return nil, err
		}
		next.instance = got.Instance
		if !key.PublicKey.Equal(next.leaf.PublicKey) {
			return nil, act.Errorf(act.Unavailable, "the network's answer is for another key")
		}
	}
	text, err := api.TrustBundle(ctx)
	if err != nil {
		return nil, err
	}
	next.bundle, err = spiffebundle.Parse(next.id.TrustDomain(), text)
	return next, err
}

func (w *Workload) publish(held *identityHeld, refused error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held, w.refused = held, refused
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Workload) now() (held *identityHeld, changed <-chan struct{}, refused error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held, w.changed, w.refused
}

// follow sends what is held, and again whenever it changes, until the caller goes or
// the network says no.
func (w *Workload) follow(ctx context.Context, send func(*identityHeld) error) error {
	for {
		held, changed, refused := w.now()
		switch {
		case held != nil:
			if err := send(held); err != nil {
				return err
			}
		case refused != nil:
			return said(refused)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// FetchX509SVID implements the Workload API (§5.2.1).
func (w *Workload) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	var last *x509.Certificate
	var with *spiffebundle.Bundle
	return w.follow(stream.Context(), func(h *identityHeld) error {
		if last != nil && last.Equal(h.leaf) && with.X509Bundle().Equal(h.bundle.X509Bundle()) {
			return nil
		}
		last, with = h.leaf, h.bundle
		return stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
			SpiffeId: h.id.String(), X509Svid: h.leaf.Raw, X509SvidKey: h.key, Bundle: authorities(h.bundle),
		}}})
	})
}

// FetchX509Bundles implements the Workload API (§5.2.2).
func (w *Workload) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	var last []byte
	return w.follow(stream.Context(), func(h *identityHeld) error {
		now := authorities(h.bundle)
		if bytes.Equal(last, now) {
			return nil
		}
		last = now
		return stream.Send(&workload.X509BundlesResponse{Bundles: map[string][]byte{h.id.TrustDomain().IDString(): now}})
	})
}

// FetchJWTBundles implements the Workload API (§6.2.2).
func (w *Workload) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	var last *spiffebundle.Bundle
	return w.follow(stream.Context(), func(h *identityHeld) error {
		if last != nil && last.JWTBundle().Equal(h.bundle.JWTBundle()) {
			return nil
		}
		last = h.bundle
		text, err := h.bundle.JWTBundle().Marshal()
		if err != nil {
			return said(err)
		}
		return stream.Send(&workload.JWTBundlesResponse{Bundles: map[string][]byte{h.id.TrustDomain().IDString(): text}})
	})
}

// FetchJWTSVID implements the Workload API (§6.2.1).
func (w *Workload) FetchJWTSVID(ctx context.Context, in *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	held, err := w.first(ctx)
	if err != nil {
		return nil, err
	}
	if in.GetSpiffeId() != "" && in.GetSpiffeId() != held.id.String() {
		return nil, status.Error(codes.PermissionDenied, "this socket speaks for "+held.id.String())
	}
	got, err := w.cfg.Holder.Client().SignSVID(ctx, in.GetAudience(), held.instance)
	if err != nil {
		return nil, said(err)
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: got.ID, Svid: got.Token}}}, nil
}

// ValidateJWTSVID implements the Workload API (§6.2.3), for SVIDs of the agent's own
// trust domain.
func (w *Workload) ValidateJWTSVID(ctx context.Context, in *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	held, err := w.first(ctx)
	if err != nil {
		return nil, err
	}
	if in.GetAudience() == "" {
		return nil, status.Error(codes.InvalidArgument, "the audience is missing")
	}
	s, err := jwtsvid.ParseAndValidate(in.GetSvid(), held.bundle.JWTBundle(), []string{in.GetAudience()})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "it is no good JWT-SVID for this audience")
	}
	claims, err := structpb.NewStruct(s.Claims)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "its claims cannot be passed on")
	}
	return &workload.ValidateJWTSVIDResponse{SpiffeId: s.ID.String(), Claims: claims}, nil
}

// first waits for an identity.
func (w *Workload) first(ctx context.Context) (held *identityHeld, err error) {
	have := errors.New("there it is")
	err = w.follow(ctx, func(h *identityHeld) error { held = h; return have })
	if errors.Is(err, have) {
		err = nil
	}
	return held, err
}

// authorities is the X.509 half of a bundle as the Workload API has it: DER, one after
// the other.
func authorities(b *spiffebundle.Bundle) (der []byte) {
	for _, ca := range b.X509Authorities() {
		der = append(der, ca.Raw...)
	}
	return der
}

// said turns what the network has said into what the Workload API says. Who has no
// identity is told PermissionDenied (§5.3).
func said(err error) error {
	e := act.AsError(err)
	text := fmt.Sprintf("%s (%s)", e.Message, e.Rule)
	switch e.Code {
	case act.Unauthenticated, act.Denied, act.Gone:
		return status.Error(codes.PermissionDenied, text)
	case act.Invalid, act.TooLarge:
		return status.Error(codes.InvalidArgument, text)
	case act.RateLimited:
		return status.Error(codes.ResourceExhausted, text)
	case act.Internal, act.NotFound, act.Conflict, act.Unavailable, act.Mismatch, act.Method, act.Held:
	}
	return status.Error(codes.Unavailable, text)
}
