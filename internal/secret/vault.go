package secret

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// VaultSettings say where HashiCorp Vault or OpenBao keeps the rings, and how a node
// signs in. Secrets are in files, never here.
type VaultSettings struct {
	Address   string        `json:"address"`   // https://vault.example:8200; http on loopback only
	Namespace string        `json:"namespace"` // of Vault Enterprise and OpenBao; "" for none
	CAFile    string        `json:"ca_file"`   // PEM; the system's authorities if ""
	Mount     string        `json:"mount"`     // of a KV engine, version 2; "secret" if ""
	Path      string        `json:"path"`      // below it; "reefwarden" if "", and then the network's name
	AppRole   *VaultAppRole `json:"approle"`
	JWT       *VaultJWT     `json:"jwt"`
}

// VaultAppRole is a sign-in by role and secret id.
type VaultAppRole struct {
	Mount        string `json:"mount"` // "approle" if ""
	RoleIDFile   string `json:"role_id_file"`
	SecretIDFile string `json:"secret_id_file"`
	// Wrapped says that the secret id's file holds a wrapping token, which gives the
	// secret id once. It is opened at start and must be new at each.
	Wrapped bool `json:"wrapped"`
}

// VaultJWT is a sign-in by a token of the platform, which is read again each time.
type VaultJWT struct {
	Mount string `json:"mount"` // "jwt" if ""
	Role  string `json:"role"`
	File  string `json:"file"`
}

func (v VaultSettings) check() error {
	if err := checkURL("address", v.Address); err != nil {
		return err
	}
	switch {
	case (v.AppRole == nil) == (v.JWT == nil):
		return errors.New("vault: say how to sign in, by approle or by jwt")
	case v.AppRole != nil && (v.AppRole.RoleIDFile == "" || v.AppRole.SecretIDFile == ""):
		return errors.New("vault: approle needs role_id_file and secret_id_file")
	case v.JWT != nil && (v.JWT.Role == "" || v.JWT.File == ""):
		return errors.New("vault: jwt needs role and file")
	}
	for _, part := range []string{v.Mount, v.Path, v.mountOfSignIn()} {
		if strings.ContainsAny(part, "?#%\\ ") || strings.Contains(part, "..") {
			return fmt.Errorf("vault: %q is no path of an engine", part)
		}
	}
	return nil
}

func (v VaultSettings) mountOfSignIn() string {
	switch {
	case v.AppRole != nil && v.AppRole.Mount != "":
		return v.AppRole.Mount
	case v.AppRole != nil:
		return "approle"
	case v.JWT != nil && v.JWT.Mount != "":
		return v.JWT.Mount
	}
	return "jwt"
}

// Vault keeps a ring in Vault's KV engine, version 2, which compares versions before
// it writes. It signs in when it has to, renews its lease before the end, and signs in
// again when that is refused. It is safe for concurrent use.
//
// The five calls that are needed are written by hand here: that Vault's own client, or
// OpenBao's, follows redirects with its token and repeats bodies in its errors.
type Vault struct {
	set   VaultSettings
	path  string // of the ring below the mount
	http  *http.Client
	clock act.Clock

	mu       sync.Mutex
	token    string        // guarded by mu; "" before the first sign-in
	until    time.Time     // guarded by mu: end of the token's lease
	life     time.Duration // guarded by mu: its length; 0 is for ever
	renews   bool          // guarded by mu
	secretID string        // guarded by mu: what the wrapping token gave
}

const (
	storeTimeout = 10 * time.Second // of one call
	maxAnswer    = 64 << 10         // bytes

	ringField = "ring"
)

// NewVault returns the store of one network's ring. It asks nobody yet.
func NewVault(set VaultSettings, network string, clock act.Clock) (*Vault, error) {
	if err := set.check(); err != nil {
		return nil, err
	}
	if set.Mount = strings.Trim(set.Mount, "/"); set.Mount == "" {
		set.Mount = "secret"
	}
	if set.Path = strings.Trim(set.Path, "/"); set.Path == "" {
		set.Path = "reefwarden"
	}
	set.Address = strings.TrimRight(set.Address, "/")
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if set.CAFile != "" {
		pem, err := os.ReadFile(set.CAFile)
		if err != nil {
			return nil, fmt.Errorf("vault: ca_file: %w", err)
		}
		if secure.RootCAs = x509.NewCertPool(); !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("vault: ca_file %s has no certificate (PEM)", set.CAFile)
		}
	}
	return &Vault{
		set: set, path: set.Path + "/" + network, clock: clock,
		http: &http.Client{
			Timeout:   storeTimeout,
			Transport: &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute},
			// A redirect would carry the token along to wherever it leads.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Read implements identity.KeyStore.
func (v *Vault) Read(ctx context.Context) (kept identity.Kept, err error) {
	var said struct {
		Data struct {
			Data     map[string]any `json:"data"`
			Metadata struct {
				Version int64 `json:"version"`
			} `json:"metadata"`
		} `json:"data"`
	}
	status, err := v.signed(ctx, http.MethodGet, v.set.Mount+"/data/"+v.path, nil, &said)
	if err != nil {
		return kept, err
	}
	switch meta := said.Data.Metadata; {
	case status == http.StatusNotFound && meta.Version > 0:
		return kept, act.Errorf(act.Unavailable, "the newest version of %s in Vault is deleted", v.path).WithRule("key.store").
			WithHint("undelete it (vault kv undelete); a new key would open nothing of the network")
	case status == http.StatusNotFound:
		return kept, fmt.Errorf("%s in Vault: %w", v.path, fs.ErrNotExist)
	case status != http.StatusOK:
		return kept, v.refused("read", status)
	default:
		kept.Revision = strconv.FormatInt(meta.Version, 10)
	}
	text, _ := said.Data.Data[ringField].(string)
	if kept.Ring, err = base64.StdEncoding.DecodeString(text); err != nil || text == "" {
		return identity.Kept{}, act.Errorf(act.Invalid, "%s in Vault has no ring of keys in its field %s (base64)", v.path, ringField).WithRule("key.spoiled").
			WithHint("something else was put there; roll the secret back to the version before (vault kv rollback)")
	}
	return kept, nil
}

// Write implements identity.KeyStore.
func (v *Vault) Write(ctx context.Context, ring []byte, over string) error {
	version, err := strconv.ParseInt("0"+over, 10, 64) // "" is version 0: nothing is there
	if err != nil {
		return conflict("Vault")
	}
	body := map[string]any{
		"options": map[string]int64{"cas": version},
		"data":    map[string]string{ringField: base64.StdEncoding.EncodeToString(ring)},
	}
	var said struct {
		Errors []string `json:"errors"`
	}
	status, err := v.signed(ctx, http.MethodPost, v.set.Mount+"/data/"+v.path, body, &said)
	switch {
	case err != nil:
		return err
	case status == http.StatusOK:
		return nil
	case status == http.StatusBadRequest && strings.Contains(strings.Join(said.Errors, "\n"), "check-and-set"):
		return conflict("Vault")
	}
	return v.refused("write", status)
}

// Close gives the lease back.
func (v *Vault) Close(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.token == "" {
		return nil
	}
	_, err := v.call(ctx, v.token, http.MethodPost, "auth/token/revoke-self", nil, nil)
	v.token = ""
	v.http.CloseIdleConnections()
	return err
}

// signed calls Vault with a token. One that was taken from us in the middle of its
// lease is replaced, once.
func (v *Vault) signed(ctx context.Context, method, path string, body, answer any) (status int, err error) {
	for range 2 {
		token, fresh, err := v.lease(ctx)
		if err != nil {
			return 0, err
		}
		status, err = v.call(ctx, token, method, path, body, answer)
		if err != nil || status != http.StatusForbidden || fresh {
			return status, err
		}
		v.forget(token)
	}
	return status, err
}

func (v *Vault) forget(token string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.token == token {
		v.token = ""
	}
}

// lease returns a token that is good now, and whether it is of a new sign-in.
func (v *Vault) lease(ctx context.Context) (token string, fresh bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock()
	if v.token != "" && (v.life == 0 || v.until.Sub(now) > v.life/2) {
		return v.token, false, nil
	}
	if v.token != "" && v.renews && now.Before(v.until) {
		if err := v.renew(ctx); err == nil {
			return v.token, false, nil
		}
	}
	if err = v.signIn(ctx); err == nil {
		return v.token, true, nil
	}
	if v.token != "" && v.clock().Before(v.until) { // what is left of the lease is good
		return v.token, false, nil
	}
	return "", false, err
}

// authAnswer is what a sign-in and a renewal answer.
type authAnswer struct {
	Auth struct {
		Token     string `json:"client_token"`
		Lease     int64  `json:"lease_duration"` // seconds
		Renewable bool   `json:"renewable"`
	} `json:"auth"`
	Data map[string]any `json:"data"`
}

// take puts a lease in force. The caller holds mu.
func (v *Vault) take(a authAnswer, asked time.Time) {
	v.token, v.renews = a.Auth.Token, a.Auth.Renewable
	v.life = time.Duration(a.Auth.Lease) * time.Second
	v.until = asked.Add(v.life)
}

// renew lengthens the lease. A lease that has come to its greatest length is
// renewed to less and less: then it is time to sign in. The caller holds mu.
func (v *Vault) renew(ctx context.Context) error {
	var said authAnswer
	asked := v.clock()
	status, err := v.call(ctx, v.token, http.MethodPost, "auth/token/renew-self", struct{}{}, &said)
	if err == nil && (status != http.StatusOK || said.Auth.Token == "") {
		err = v.refused("renew the lease of", status)
	}
	if err != nil {
		return err
	}
	if got := time.Duration(said.Auth.Lease) * time.Second; got <= v.life/2 {
		v.until = asked.Add(got)
		return errors.New("the lease has come to its greatest length")
	}
	v.take(said, asked)
	return nil
}

// signIn gets a new lease. The caller holds mu.
func (v *Vault) signIn(ctx context.Context) error {
	body := make(map[string]string)
	switch r, j := v.set.AppRole, v.set.JWT; {
	case r != nil:
		role, err := readLine(r.RoleIDFile)
		if err != nil {
			return signInFailed(err)
		}
		id := v.secretID
		if id == "" {
			if id, err = readLine(r.SecretIDFile); err == nil && r.Wrapped {
				id, err = v.unwrap(ctx, id)
			}
			if err != nil {
				return signInFailed(err)
			}
		}
		body["role_id"], body["secret_id"] = role, id
	default:
		text, err := readLine(j.File)
		if err != nil {
			return signInFailed(err)
		}
		body["role"], body["jwt"] = j.Role, text
	}
	var said authAnswer
	asked := v.clock()
	status, err := v.call(ctx, "", http.MethodPost, "auth/"+strings.Trim(v.set.mountOfSignIn(), "/")+"/login", body, &said)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK || said.Auth.Token == "":
		return v.refused("sign in for", status)
	}
	v.take(said, asked)
	return nil
}

// unwrap opens the wrapping token that brought the secret id. That it is ours is
// looked at first: one of another making would sign us in to somebody else's network.
// It opens once: if it does not, somebody else may have the secret id.
func (v *Vault) unwrap(ctx context.Context, wrapping string) (string, error) {
	var about, said authAnswer
	status, err := v.call(ctx, wrapping, http.MethodPost, "sys/wrapping/lookup", map[string]string{"token": wrapping}, &about)
	made, _ := about.Data["creation_path"].(string)
	prefix := "auth/" + strings.Trim(v.set.mountOfSignIn(), "/") + "/role/"
	switch {
	case err != nil:
		return "", err
	case status != http.StatusOK:
		return "", act.Errorf(act.Denied, "Vault does not know the wrapping token of the secret id").WithRule("key.store").
			WithHint("it has ended, or was opened: if this node did not open it, somebody else has the secret id; revoke it, and make a new one")
	case !strings.HasPrefix(made, prefix) || !strings.HasSuffix(made, "/secret-id"):
		return "", act.Errorf(act.Denied, "the wrapping token was not made for a secret id of %s", prefix).WithRule("key.store").
			WithHint("somebody may have exchanged it; make a new one with -wrap-ttl")
	}
	status, err = v.call(ctx, wrapping, http.MethodPost, "sys/wrapping/unwrap", nil, &said)
	if err != nil {
		return "", err
	}
	id, _ := said.Data["secret_id"].(string)
	if status != http.StatusOK || id == "" {
		return "", v.refused("unwrap the secret id for", status)
	}
	v.secretID = id // its second use would fail
	return id, nil
}

func signInFailed(err error) error {
	if act.CodeOf(err) != act.Internal {
		return err
	}
	return act.Errorf(act.Invalid, "what signs this node in to Vault: %s", err).WithRule("key.store").
		WithHint("the file must be readable by the server only")
}

// readLine reads a file with a secret, without the end of its line.
func readLine(path string) (string, error) {
	text, err := identity.ReadSecretFile(path)
	line := strings.TrimSpace(string(text))
	if err == nil && (line == "" || strings.ContainsAny(line, "\r\n")) {
		err = fmt.Errorf("%s is not one line", path)
	}
	return line, err
}

// refused says what Vault answered, by its number: a body may repeat what was sent.
func (v *Vault) refused(what string, status int) error {
	code, hint := act.Unavailable, "look at Vault's own log; it is asked again"
	switch {
	case status == http.StatusForbidden, status == http.StatusBadRequest, status == http.StatusUnauthorized:
		code, hint = act.Denied, "its role, or the policy of the role, does not allow it: see docs/keys.md for what is needed"
	case status == http.StatusServiceUnavailable:
		hint = "it is sealed or starting; it is asked again"
	case status/100 == 3:
		hint = "it names another address; give the one of the active node, or let standbys forward"
	}
	return act.Errorf(code, "Vault refuses to %s %s (status %d)", what, v.path, status).WithRule("key.store").WithHint(hint)
}

// call makes one call. The answer is nil where nothing of it is wanted.
func (v *Vault) call(ctx context.Context, token, method, path string, body, answer any) (status int, err error) {
	req, err := jsonRequest(ctx, method, v.set.Address+"/v1/"+path, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Vault-Request", "true") // asked for by agents and proxies of Vault
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if v.set.Namespace != "" {
		req.Header.Set("X-Vault-Namespace", v.set.Namespace)
	}
	resp, err := v.http.Do(req)
	if err != nil {
		return 0, unreachable("Vault", v.set.Address, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read, or is not wanted
	raw, err := readBounded(resp.Body)
	if err != nil {
		return 0, unreachable("Vault", v.set.Address, err)
	}
	if answer != nil && len(raw) > 0 && resp.StatusCode/100 != 3 {
		err = json.Unmarshal(raw, answer)
		if resp.StatusCode == http.StatusOK && err != nil {
			return 0, act.Errorf(act.Unavailable, "%s does not answer like Vault", v.set.Address).WithRule("key.store").WithHint("is that its address?")
		}
	}
	return resp.StatusCode, nil
}
