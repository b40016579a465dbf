package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// Place says in which store the rings of a process's networks are kept.
type Place struct {
	Vault *VaultSettings `json:"vault"`
	AWS   *AWSSettings   `json:"aws"`
	// Lease is how long a node goes on with the ring that it has when the store does
	// not answer, or does not let it in: "90m". DefaultLease if "".
	Lease string `json:"lease"`
}

// How long a node goes on without its store.
const (
	DefaultLease = time.Hour
	leastLease   = time.Minute
	mostLease    = 7 * 24 * time.Hour
)

const maxPlace = 64 << 10 // bytes of the settings

// ReadPlace reads the settings of a store from a JSON file. Files that it names stand
// relative to it.
func ReadPlace(path string) (Place, error) {
	var p Place
	text, err := os.ReadFile(path)
	if err != nil {
		return p, err
	}
	if len(text) > maxPlace {
		return p, fmt.Errorf("%s: %d bytes are too many", path, len(text))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, fmt.Errorf("%s: something follows the settings", path)
	}
	if err := p.check(); err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	for _, file := range p.files() {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(filepath.Dir(path), *file)
		}
	}
	return p, nil
}

func (p Place) files() (list []*string) {
	if v := p.Vault; v != nil {
		list = append(list, &v.CAFile)
		if v.AppRole != nil {
			list = append(list, &v.AppRole.RoleIDFile, &v.AppRole.SecretIDFile)
		}
		if v.JWT != nil {
			list = append(list, &v.JWT.File)
		}
	}
	return list
}

func (p Place) check() error {
	if _, err := p.lease(); err != nil {
		return err
	}
	switch {
	case (p.Vault == nil) == (p.AWS == nil):
		return errors.New("name one store: vault or aws")
	case p.AWS != nil:
		return p.AWS.check()
	}
	return p.Vault.check()
}

func (p Place) lease() (time.Duration, error) {
	if p.Lease == "" {
		return DefaultLease, nil
	}
	d, err := time.ParseDuration(p.Lease)
	if err != nil || d < leastLease || d > mostLease {
		return 0, fmt.Errorf("lease %q is not from %s to %s", p.Lease, leastLease, mostLease)
	}
	return d, nil
}

// GoOn returns how long a node goes on without the store.
func (p Place) GoOn() time.Duration {
	d, _ := p.lease() // was checked
	return d
}

// String names the store and the place in it.
func (p Place) String() string {
	if p.AWS != nil {
		return "AWS Secrets Manager in " + p.AWS.Region
	}
	return "Vault at " + p.Vault.Address
}

// Open returns the store of one network's ring.
func (p Place) Open(ctx context.Context, network string, clock act.Clock) (identity.KeyStore, error) {
	if p.AWS != nil {
		return NewAWS(ctx, *p.AWS, network)
	}
	return NewVault(*p.Vault, network, clock)
}

// checkURL refuses a store that is spoken to in the clear over a network.
func checkURL(what, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%s is not a plain https URL", what)
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s %s is not on this machine: use https", what, text)
	}
	return nil
}

func conflict(store string) error {
	return act.Errorf(act.Conflict, "another ring of keys is in %s by now", store).WithRule("key.conflict").WithHint("read it again")
}

// unreachable says that a store did not answer. Errors of the network name addresses
// and nothing that was sent; those of other parts are left out.
func unreachable(store, address string, err error) error {
	why := "it does not answer"
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		why = "no answer in time"
	case errors.Is(err, errTooLong):
		why = errTooLong.Error()
	case errors.As(err, &dns):
		why = "its name is not found"
	case errors.As(err, &op):
		why = op.Op + ": " + op.Err.Error()
	}
	return act.Errorf(act.Unavailable, "%s at %s: %s", store, address, why).WithRule("key.store").WithRetry(5 * time.Second).
		WithHint("the network's key is kept there; see whether it runs, and whether this machine reaches it")
}

var errTooLong = errors.New("the answer is too long")

func readBounded(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err == nil && len(raw) > maxAnswer {
		err = errTooLong
	}
	return raw, err
}

func jsonRequest(ctx context.Context, method, url string, body any) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err == nil && body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}
