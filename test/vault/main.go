// Command vault is the core of HashiCorp Vault as a peer for tests: in memory, on
// loopback, unsealed, with what the network's keys need of it (KV version 2, AppRole,
// JWT). It prints one line of JSON with its address, its root token and its unseal key,
// and ends when its standard input does.
//
// It is a module of its own, so that neither Vault nor its five hundred modules come
// near the product. Vault is under the Business Source License: it is built from its
// published module for tests, and neither linked into nor shipped with anything.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	log "github.com/hashicorp/go-hclog"
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// builtin are the plug-ins that can be mounted.
type builtin map[consts.PluginType]map[string]logical.Factory

func (b builtin) Contains(name string, kind consts.PluginType) bool {
	_, ok := b[kind][name]
	return ok
}

func (b builtin) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	factory, ok := b[kind][name]
	return func() (interface{}, error) { return factory, nil }, ok
}

func (b builtin) Keys(kind consts.PluginType) (names []string) {
	for name := range b[kind] {
		names = append(names, name)
	}
	return names
}

func (b builtin) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, b.Contains(name, kind)
}

func (builtin) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

func run() error {
	logger := log.New(&log.LoggerOptions{Output: os.Stderr, Level: log.Error})
	memory, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return err
	}
	plugins := builtin{
		consts.PluginTypeSecrets:    {"kv": kv.Factory},
		consts.PluginTypeCredential: {"approle": approle.Factory, "jwt": jwt.Factory},
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: memory, DisableMlock: true, Logger: logger, BuiltinRegistry: plugins,
		LogicalBackends: plugins[consts.PluginTypeSecrets], CredentialBackends: plugins[consts.PluginTypeCredential],
	})
	if err != nil {
		return err
	}
	made, err := core.Initialize(context.Background(), &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}, RecoveryConfig: &vault.SealConfig{},
	})
	if err != nil {
		return err
	}
	if _, err := core.Unseal(append([]byte(nil), made.SecretShares[0]...)); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}})
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(listener, handler) }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{
		"address": "http://" + listener.Addr().String(), "root": made.RootToken, "unseal": hex.EncodeToString(made.SecretShares[0]),
	}); err != nil {
		return err
	}
	return <-failed
}
