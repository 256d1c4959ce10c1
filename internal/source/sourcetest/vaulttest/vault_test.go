package vaulttest_test

import (
	"testing"

	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/vault"

	"github.com/superinstance/keeper/internal/source/sourcetest"
	"github.com/superinstance/keeper/internal/source/sourcetest/vaulttest"
)

func TestOpenBaoByARealServer(t *testing.T) {
	core, _, root := vault.TestCoreUnsealedWithConfig(t, &vault.CoreConfig{
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory, "lease": vaulttest.NewEngine},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
	})
	listener, address := vaulthttp.TestServer(t, core)
	t.Cleanup(func() { listener.Close() })
	sourcetest.Run(t, sourcetest.Server{Address: address, Root: root})
}
