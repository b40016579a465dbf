package secret

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// vaultPeer is the real Vault core (test/vault), behind a wire that can be cut.
type vaultPeer struct {
	t       *testing.T
	wire    *wire
	direct  string // address of the process, for the operator
	root    string
	unseal  string
	roleID  string
	signJWT func() string
}

// realVault is the program, "" where there is none. A run at full counts needs it.
func realVault(t *testing.T) string {
	t.Helper()
	program := os.Getenv("REEF_VAULT_PEER")
	if program == "" && os.Getenv("REEF_SOAK") == "1" {
		t.Fatal("a run at full counts needs the real Vault: tools/peer.sh vault builds it, and REEF_VAULT_PEER names it")
	}
	return program
}

// startVault starts Vault with a KV engine, two ways to sign in, and one role that may
// do what docs/keys.md says it needs.
func startVault(t *testing.T, program string) *vaultPeer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	var said struct{ Address, Root, Unseal string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		t.Fatalf("Vault does not start: %v", err)
	}
	v := &vaultPeer{t: t, direct: said.Address, root: said.Root, unseal: said.Unseal, wire: newWire(t, strings.TrimPrefix(said.Address, "http://"))}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	v.signJWT = func() string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(s).Claims(jwt.Claims{Subject: "reef", Issuer: "platform", Audience: jwt.Audience{"vault"}, IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	v.operator("sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	v.operator("sys/auth/approle", map[string]any{"type": "approle"})
	v.operator("sys/auth/jwt", map[string]any{"type": "jwt"})
	v.deny(false)
	v.operator("auth/approle/role/reef", map[string]any{"token_policies": "reef", "token_ttl": "1m", "token_max_ttl": "2m"})
	v.operator("auth/jwt/config", map[string]any{"bound_issuer": "platform", "jwt_validation_pubkeys": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "jwt_supported_algs": "ES256"})
	v.operator("auth/jwt/role/reef", map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "reef", "token_ttl": "1m"})
	v.roleID = dig[string](v.operator("auth/approle/role/reef/role-id", nil), "data", "role_id")
	// A KV engine of version 2 is upgraded in the background when it is mounted.
	for end := time.Now().Add(time.Minute); ; {
		if status, _ := v.ask(http.MethodPost, "secret/data/ready", "", map[string]any{"data": map[string]string{"x": "y"}}); status == http.StatusOK {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the KV engine is not ready")
		}
	}
	return v
}

// dig takes a value out of an answer.
func dig[T any](answer map[string]any, path ...string) (out T) {
	var at any = answer
	for _, name := range path {
		inner, _ := at.(map[string]any)
		at = inner[name]
	}
	out, _ = at.(T)
	return out
}

// operator makes a call with the root token, a reading if there is no body.
func (v *vaultPeer) operator(path string, body map[string]any) map[string]any {
	v.t.Helper()
	method := http.MethodPost
	if body == nil {
		method = http.MethodGet
	}
	status, answer := v.ask(method, path, "", body)
	if status/100 != 2 {
		v.t.Fatalf("%s of Vault: %d %v", path, status, answer)
	}
	return answer
}

func (v *vaultPeer) ask(method, path, wrap string, body map[string]any) (status int, answer map[string]any) {
	v.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		v.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(v.t.Context()), method, v.direct+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", v.root)
	if wrap != "" {
		req.Header.Set("X-Vault-Wrap-TTL", wrap)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	_ = json.NewDecoder(resp.Body).Decode(&answer) // of some answers there is no body
	return resp.StatusCode, answer
}

func (v *vaultPeer) deny(on bool) {
	rules := `path "secret/data/reefwarden/*" { capabilities = ["create", "read", "update"] }`
	if on {
		rules = `path "secret/data/reefwarden/*" { capabilities = ["deny"] }`
	}
	v.operator("sys/policies/acl/reef", map[string]any{"policy": rules})
}

// revoke ends every lease that was signed in for.
func (v *vaultPeer) revoke() {
	v.operator("sys/leases/revoke-prefix/auth/approle/login", map[string]any{"sync": true})
	v.operator("sys/leases/revoke-prefix/auth/jwt/login", map[string]any{"sync": true})
}

func (v *vaultPeer) restart() {
	v.operator("sys/seal", map[string]any{})
	v.operator("sys/unseal", map[string]any{"key": v.unseal})
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if status, _ := v.ask(http.MethodGet, "secret/data/ready", "", nil); status == http.StatusOK {
			return
		}
	}
	v.t.Fatal("Vault does not come back")
}

func (v *vaultPeer) secretID(wrap string) string {
	status, answer := v.ask(http.MethodPost, "auth/approle/role/reef/secret-id", wrap, map[string]any{})
	if status != http.StatusOK {
		v.t.Fatalf("a secret id of Vault: %d %v", status, answer)
	}
	if wrap != "" {
		return dig[string](answer, "wrap_info", "token")
	}
	return dig[string](answer, "data", "secret_id")
}

func (v *vaultPeer) byAppRole() VaultSettings {
	return VaultSettings{Address: v.wire.url, AppRole: &VaultAppRole{RoleIDFile: secretFile(v.t, v.roleID), SecretIDFile: secretFile(v.t, v.secretID(""))}}
}

// realVaults are the ways to sign in to the real Vault, for the conformance test.
func realVaults(t *testing.T) (list []peer) {
	program := realVault(t)
	if program == "" {
		return nil
	}
	for name, set := range map[string]func(*vaultPeer) VaultSettings{
		"approle": (*vaultPeer).byAppRole,
		"jwt": func(v *vaultPeer) VaultSettings {
			return VaultSettings{Address: v.wire.url, JWT: &VaultJWT{Role: "reef", File: secretFile(v.t, v.signJWT())}}
		},
	} {
		list = append(list, peer{name: "vault, " + name, start: func(t *testing.T) fixture {
			v := startVault(t, program)
			settings := set(v)
			return fixture{
				open: func(context.Context) (identity.KeyStore, error) { return NewVault(settings, "default", act.RealClock) },
				spoil: func(text []byte) {
					v.operator("secret/data/"+vaultRing, map[string]any{"data": map[string]string{"ring": base64.StdEncoding.EncodeToString(text)}})
				},
				deny: v.deny, down: v.wire.cut, slow: v.wire.hang, expire: v.revoke, restart: v.restart,
			}
		}})
	}
	return list
}

// What only the real one can show: the wrapping token of a secret id, the renewal of a
// lease up to its greatest length, a deleted version.
func TestVaultPeer(t *testing.T) {
	program := realVault(t)
	if program == "" {
		return // the doubles of the conformance test stand for it
	}
	v := startVault(t, program)
	wrapped := func(token string) *Vault {
		set := v.byAppRole()
		set.AppRole.SecretIDFile, set.AppRole.Wrapped = secretFile(t, token), true
		return openReal(t, set)
	}
	token := v.secretID("60s")
	s := wrapped(token)
	if err := s.Write(t.Context(), ringOf(t), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := wrapped(token).Read(t.Context()); act.CodeOf(err) != act.Denied {
		t.Errorf("a wrapping token that was opened: %v", err)
	}
	_, other := v.ask(http.MethodGet, "secret/data/ready", "60s", nil)
	if _, err := wrapped(dig[string](other, "wrap_info", "token")).Read(t.Context()); act.CodeOf(err) != act.Denied || !strings.Contains(err.Error(), "was not made for a secret id") {
		t.Errorf("a wrapping token of another making: %v", err)
	}
	// The clock of the node runs ahead: it renews in time, again and again.
	set := v.byAppRole()
	ahead := time.Duration(0)
	early, err := NewVault(set, "default", func() time.Time { return time.Now().Add(ahead) })
	if err != nil {
		t.Fatal(err)
	}
	first := read(t, early)
	held := early.token
	for range 3 {
		ahead += 40 * time.Second
		read(t, early)
	}
	if early.token != held {
		t.Error("the node has signed in again where a renewal would have done")
	}
	if err := early.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if status, _ := v.ask(http.MethodPost, "auth/token/lookup", "", map[string]any{"token": held}); status/100 == 2 {
		t.Error("a lease that was given back runs on")
	}
	v.operator("secret/delete/"+vaultRing, map[string]any{"versions": []string{first.Revision}})
	if _, err := s.Read(t.Context()); act.CodeOf(err) != act.Unavailable {
		t.Errorf("a deleted version: %v", err)
	}
	if _, err := identity.OpenKeys(t.Context(), s, true); err == nil {
		t.Error("a key is made over a deleted one")
	}
	v.operator("secret/undelete/"+vaultRing, map[string]any{"versions": []string{first.Revision}})
	if again := read(t, s); again.Revision != first.Revision {
		t.Errorf("undeleted, the revision is %s", again.Revision)
	}
	v.operator("sys/seal", map[string]any{})
	if _, err := s.Read(t.Context()); act.CodeOf(err) != act.Unavailable || !strings.Contains(act.AsError(err).Hint, "sealed") {
		t.Errorf("a sealed Vault: %v", err)
	}
}

func openReal(t *testing.T, set VaultSettings) *Vault {
	t.Helper()
	s, err := NewVault(set, "default", act.RealClock)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wire passes bytes on to an address, and can be cut or kept from passing any.
type wire struct {
	url, to string
	mu      sync.Mutex
	off     bool          // guarded by mu
	wait    chan struct{} // guarded by mu: closed when bytes pass again; nil when they do
	open    []net.Conn    // guarded by mu
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{url: fmt.Sprintf("http://%s", l.Addr()), to: to}
	t.Cleanup(func() {
		_ = l.Close()
		w.hang(false)
		w.cut(true)
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.pass(c)
		}
	}()
	return w
}

func (w *wire) pass(near net.Conn) {
	defer near.Close()
	w.mu.Lock()
	off := w.off
	w.mu.Unlock()
	if off {
		return
	}
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	w.open = append(w.open, near, far)
	w.mu.Unlock()
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.Close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := far.Read(buffer)
		w.mu.Lock()
		wait := w.wait
		w.mu.Unlock()
		if wait != nil {
			<-wait
		}
		if _, werr := near.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

// cut breaks what is connected, and whatever connects until it is mended.
func (w *wire) cut(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = on
	if on {
		for _, c := range w.open {
			_ = c.Close()
		}
		w.open = nil
	}
}

// hang keeps answers back.
func (w *wire) hang(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case on && w.wait == nil:
		w.wait = make(chan struct{})
	case !on && w.wait != nil:
		close(w.wait)
		w.wait = nil
	}
}
