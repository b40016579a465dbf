package certificate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Config names the files of a pair. All fields but Log are required.
type Config struct {
	Cert  string // certificate, the ones that vouch for it behind it (PEM)
	Key   string // its private key (PEM), which only its owner and group may read
	Clock act.Clock
	Log   *slog.Logger // nil discards
}

// Pair is a certificate and its key as they stood in their files when they were last
// good. It is safe for concurrent use.
type Pair struct {
	cfg   Config
	force atomic.Pointer[tls.Certificate]

	mu     sync.Mutex
	seen   [sha256.Size]byte // guarded by mu: the contents that were looked at last
	failed error             // guarded by mu: why those are not in force
}

// State says how a pair stands.
type State struct {
	NotAfter time.Time // of the certificate in force
	Failed   error     // why what stands in the files is not in force, nil if it is
}

// keyMask holds the permissions that a private key may not give: anything to
// everybody, writing to its group.
const keyMask fs.FileMode = 0o027

// maxFile bounds what is read of a file.
const maxFile = 1 << 20

// Open reads a pair. It fails when the files cannot be used, or not now.
func Open(ctx context.Context, c Config) (*Pair, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pair{cfg: c}
	if err := p.Look(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Look reads the files again and puts them in force when they are others than last
// time. It fails while they cannot be used, and logs so when that begins and ends.
func (p *Pair) Look(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cert, key, err := read(p.cfg.Cert, p.cfg.Key)
	sum := sha256.Sum256(bytes.Join([][]byte{cert, key}, []byte{0}))
	if err == nil && sum == p.seen && (p.failed == nil || !p.due()) {
		return p.failed
	}
	var pair *tls.Certificate
	if err == nil {
		pair, err = p.parse(cert, key)
	}
	clear(key)
	was := p.failed
	p.seen, p.failed = sum, err
	switch {
	case err != nil && p.force.Load() != nil && (was == nil || was.Error() != err.Error()):
		p.cfg.Log.LogAttrs(ctx, slog.LevelError, "a certificate cannot be used; the one before stays in force", slog.Any("err", err), slog.Time("until", p.force.Load().Leaf.NotAfter))
	case err == nil && p.force.Load() != nil:
		p.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "a new certificate is in force", slog.String("file", p.cfg.Cert), slog.Time("until", pair.Leaf.NotAfter))
	}
	if err == nil {
		p.force.Store(pair)
	}
	return err
}

// due reports whether what was refused because its time had not come is looked at
// again although the files are the same.
func (p *Pair) due() bool { return errors.Is(p.failed, errTime) }

var errTime = errors.New("the certificate is not good now")

func read(certFile, keyFile string) (cert, key []byte, err error) {
	if cert, err = readFile(certFile, 0); err != nil {
		return nil, nil, err
	}
	key, err = readFile(keyFile, keyMask)
	return cert, key, err
}

// Read reads a pair once, for who reads it again each time it is needed.
func Read(certFile, keyFile string) (tls.Certificate, error) {
	cert, key, err := read(certFile, keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer clear(key)
	return tls.X509KeyPair(cert, key)
}

func readFile(path string, mask fs.FileMode) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if loose := info.Mode().Perm() & mask; loose != 0 {
		return nil, fmt.Errorf("%s is open to others (mode %04o): chmod 600 it, and replace the key if others may have read it", path, info.Mode().Perm())
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is too large (%d bytes)", path, info.Size())
	}
	return os.ReadFile(path)
}

// parse reads a pair that fits together and is good now. Its errors hold nothing of
// the key.
func (p *Pair) parse(cert, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", p.cfg.Cert, p.cfg.Key, err)
	}
	now := p.cfg.Clock()
	if now.Before(pair.Leaf.NotBefore) || now.After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("%s: %w: it is from %s to %s", p.cfg.Cert, errTime, pair.Leaf.NotBefore.UTC().Format(time.RFC3339), pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &pair, nil
}

// Current returns the pair in force. It must not be changed.
func (p *Pair) Current() *tls.Certificate { return p.force.Load() }

// Server is the GetCertificate of a [tls.Config].
func (p *Pair) Server(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.force.Load(), nil }

// State says how the pair stood when it was last looked at.
func (p *Pair) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return State{NotAfter: p.force.Load().Leaf.NotAfter, Failed: p.failed}
}

// Door returns how a door speaks TLS: 1.3, which every client of ours and of others'
// knows that we try. Callers are asked for a certificate and may have none; whose it
// is counts where a token is bound to it (RFC 8705 §3) or where it is an SVID, not who
// signed it, so the handshake only has its key shown.
func Door(p *Pair) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, GetCertificate: p.Server, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"},
	}
}

// Roots reads the certificates of those whom we believe (PEM), each time anew.
func Roots(file string) (*x509.CertPool, error) {
	text, err := readFile(file, 0)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate (PEM)", file)
	}
	return pool, nil
}
