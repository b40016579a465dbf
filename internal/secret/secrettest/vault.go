package secrettest

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Vault is a double of HashiCorp Vault: KV version 2 at secret/, sign-in by AppRole at
// approle/ and by JWT at jwt/, token leases, response wrapping.
type Vault struct {
	URL      string
	RoleID   string
	SecretID string
	JWT      string // the one that is let in

	mu       sync.Mutex
	now      func() time.Time          // guarded by mu
	skew     time.Duration             // guarded by mu: how far its clock was put forward
	life     time.Duration             // guarded by mu: of a lease
	most     time.Duration             // guarded by mu: of a token, whatever was renewed
	tokens   map[string]*vaultToken    // guarded by mu
	wraps    map[string]vaultWrap      // guarded by mu
	secrets  map[string][]vaultVersion // guarded by mu: path below secret/data/
	gone     map[string]bool           // guarded by mu: whose newest version is deleted
	uses     int                       // guarded by mu: how often the secret id may be used; < 0 for ever
	signIns  int                       // guarded by mu
	renewals int                       // guarded by mu
	reads    int                       // guarded by mu
	denied   bool                      // guarded by mu: the role's policy allows nothing
	hung     chan struct{}             // guarded by mu: closed when answers come again; nil when they do
	down     bool                      // guarded by mu
	sealed   bool                      // guarded by mu
	redirect string                    // guarded by mu
}

type vaultToken struct{ made, until time.Time }

type vaultWrap struct{ path, secretID string }

type vaultVersion map[string]any

// NewVault starts a double on loopback, which ends with the test.
func NewVault(t testing.TB) *Vault {
	t.Helper()
	v := &Vault{
		RoleID: "role-" + rand.Text(), SecretID: "secret-" + rand.Text(), JWT: "jwt." + rand.Text() + "." + rand.Text(), now: time.Now,
		life: time.Hour, most: 24 * time.Hour, uses: -1,
		tokens: make(map[string]*vaultToken), wraps: make(map[string]vaultWrap), secrets: make(map[string][]vaultVersion), gone: make(map[string]bool),
	}
	s := httptest.NewServer(v)
	v.URL = s.URL
	t.Cleanup(func() {
		v.Slow(false)
		s.Close()
	})
	return v
}

func (v *Vault) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

// Clock is the double's clock, which Advance puts forward.
func (v *Vault) Clock() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.clock()
}

func (v *Vault) clock() time.Time { return v.now().Add(v.skew) }

// Advance puts the clock forward.
func (v *Vault) Advance(d time.Duration) { v.set(func() { v.skew += d }) }

// Leases sets how long leases given from now on are, and for how long they can be
// renewed.
func (v *Vault) Leases(life, most time.Duration) { v.set(func() { v.life, v.most = life, most }) }

// Uses sets how often the secret id is good from now on.
func (v *Vault) Uses(n int) { v.set(func() { v.uses = n }) }

// Deny has the role's policy allow nothing.
func (v *Vault) Deny(on bool) { v.set(func() { v.denied = on }) }

// Down has every connection cut.
func (v *Vault) Down(on bool) { v.set(func() { v.down = on }) }

// Seal has it answer as a sealed Vault does.
func (v *Vault) Seal(on bool) { v.set(func() { v.sealed = on }) }

// Redirect has it answer as a standby that names another address, "" to stop.
func (v *Vault) Redirect(to string) { v.set(func() { v.redirect = to }) }

// Slow keeps answers back.
func (v *Vault) Slow(on bool) {
	v.set(func() {
		switch {
		case on && v.hung == nil:
			v.hung = make(chan struct{})
		case !on && v.hung != nil:
			close(v.hung)
			v.hung = nil
		}
	})
}

// Revoke ends all tokens, as an operator may at any time.
func (v *Vault) Revoke() { v.set(func() { clear(v.tokens) }) }

// Counts returns how often somebody has signed in, renewed a lease, and read.
func (v *Vault) Counts() (signIns, renewals, reads int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.signIns, v.renewals, v.reads
}

// Live returns how many leases run.
func (v *Vault) Live() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range v.tokens {
		if v.clock().Before(t.until) {
			n++
		}
	}
	return n
}

// Wrap makes a wrapping token for the secret id, or for something of another making.
func (v *Vault) Wrap(path string) string {
	token := "hvs." + rand.Text()
	v.set(func() { v.wraps[token] = vaultWrap{path: path, secretID: v.SecretID} })
	return token
}

// Put writes a version of a secret, whatever is there.
func (v *Vault) Put(path string, fields map[string]any) {
	v.set(func() { v.secrets[path], v.gone[path] = append(v.secrets[path], fields), false })
}

// Delete deletes the newest version of a secret, as `vault kv delete` does.
func (v *Vault) Delete(path string) { v.set(func() { v.gone[path] = true }) }

// ServeHTTP answers as Vault does.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	hung := v.hung
	v.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}
	var body struct {
		RoleID   string         `json:"role_id"`
		SecretID string         `json:"secret_id"`
		Role     string         `json:"role"`
		JWT      string         `json:"jwt"`
		Token    string         `json:"token"`
		Options  map[string]int `json:"options"`
		Data     vaultVersion   `json:"data"`
	}
	_ = json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body) // of many calls there is none
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.down:
		panic(http.ErrAbortHandler)
	case v.redirect != "":
		http.Redirect(w, r, v.redirect+r.URL.Path, http.StatusTemporaryRedirect)
		return
	case v.sealed:
		vaultError(w, http.StatusServiceUnavailable, "Vault is sealed")
		return
	case r.Header.Get("X-Vault-Request") != "true":
		vaultError(w, http.StatusPreconditionFailed, "required header is missing")
		return
	}
	token := r.Header.Get("X-Vault-Token")
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	switch path {
	case "auth/approle/login":
		if body.RoleID != v.RoleID || body.SecretID != v.SecretID || v.uses == 0 {
			vaultError(w, http.StatusBadRequest, "invalid role or secret ID "+body.SecretID) // a body may repeat what was sent
			return
		}
		v.uses--
		v.signIn(w)
		return
	case "auth/jwt/login":
		if body.JWT != v.JWT || body.Role == "" {
			vaultError(w, http.StatusBadRequest, "error validating token "+body.JWT)
			return
		}
		v.signIn(w)
		return
	case "sys/wrapping/lookup":
		wrap, ok := v.wraps[body.Token]
		if !ok {
			vaultError(w, http.StatusForbidden, "wrapping token is not valid or does not exist")
			return
		}
		answer(w, map[string]any{"data": map[string]any{"creation_path": wrap.path}})
		return
	case "sys/wrapping/unwrap":
		wrap, ok := v.wraps[token]
		if !ok {
			vaultError(w, http.StatusBadRequest, "wrapping token is not valid or does not exist")
			return
		}
		delete(v.wraps, token)
		answer(w, map[string]any{"data": map[string]any{"secret_id": wrap.secretID}})
		return
	}
	lease := v.tokens[token]
	if lease == nil || !v.clock().Before(lease.until) {
		vaultError(w, http.StatusForbidden, "permission denied")
		return
	}
	switch name, data := strings.CutPrefix(path, "secret/data/"); {
	case path == "auth/token/renew-self":
		v.renewals++
		lease.until = v.clock().Add(v.life)
		if end := lease.made.Add(v.most); lease.until.After(end) {
			lease.until = end
		}
		answer(w, v.auth(token, lease))
	case path == "auth/token/revoke-self":
		delete(v.tokens, token)
		w.WriteHeader(http.StatusNoContent)
	case data && v.denied:
		vaultError(w, http.StatusForbidden, "1 error occurred: permission denied")
	case data && r.Method == http.MethodGet:
		v.reads++
		v.read(w, name)
	case data && r.Method == http.MethodPost:
		v.write(w, name, body.Options, body.Data)
	default:
		vaultError(w, http.StatusNotFound, "unsupported path")
	}
}

func (v *Vault) signIn(w http.ResponseWriter) {
	v.signIns++
	token := "hvs." + rand.Text()
	lease := &vaultToken{made: v.clock(), until: v.clock().Add(min(v.life, v.most))}
	v.tokens[token] = lease
	answer(w, v.auth(token, lease))
}

func (v *Vault) auth(token string, lease *vaultToken) map[string]any {
	return map[string]any{"auth": map[string]any{
		"client_token": token, "lease_duration": int(lease.until.Sub(v.clock()).Round(time.Second) / time.Second), "renewable": true,
	}}
}

func (v *Vault) read(w http.ResponseWriter, name string) {
	versions := v.secrets[name]
	if len(versions) == 0 {
		vaultError(w, http.StatusNotFound)
		return
	}
	meta := map[string]any{"version": len(versions), "deletion_time": ""}
	if v.gone[name] {
		meta["deletion_time"] = v.clock().UTC().Format(time.RFC3339)
		w.WriteHeader(http.StatusNotFound)
		answer(w, map[string]any{"data": map[string]any{"data": nil, "metadata": meta}})
		return
	}
	answer(w, map[string]any{"data": map[string]any{"data": versions[len(versions)-1], "metadata": meta}})
}

func (v *Vault) write(w http.ResponseWriter, name string, options map[string]int, fields vaultVersion) {
	cas, given := options["cas"]
	if !given || cas != len(v.secrets[name]) {
		vaultError(w, http.StatusBadRequest, "check-and-set parameter did not match the current version")
		return
	}
	v.secrets[name], v.gone[name] = append(v.secrets[name], fields), false
	answer(w, map[string]any{"data": map[string]any{"version": len(v.secrets[name])}})
}

func answer(w http.ResponseWriter, body any) { _ = json.NewEncoder(w).Encode(body) }

func vaultError(w http.ResponseWriter, status int, texts ...string) {
	w.WriteHeader(status)
	answer(w, map[string]any{"errors": append([]string{}, texts...)})
}

// Tokens returns every token it has given and not forgotten: nobody else may know them.
func (v *Vault) Tokens() (list []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for token := range v.tokens {
		list = append(list, token)
	}
	return list
}
