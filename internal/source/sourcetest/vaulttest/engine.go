// Package vaulttest runs the suite of keeper's OpenBao source against the server of
// HashiCorp Vault, whose interface OpenBao's is. It is a module of its own, so that
// keeper's does not get the server's dependencies.
package vaulttest

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const leaseLife, leaseMost = 2 * time.Second, 5 * time.Second

// NewEngine is a secrets engine that makes a user and a password for each who asks,
// as those of databases do; the server's own lease manager renews and ends them.
func NewEngine(ctx context.Context, config *logical.BackendConfig) (logical.Backend, error) {
	var made, renewed atomic.Int64
	credentials := &framework.Secret{
		Type: "credentials",
		Renew: func(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
			renewed.Add(1)
			resp := &logical.Response{Secret: req.Secret}
			if resp.Secret.TTL < time.Hour {
				resp.Secret.TTL, resp.Secret.MaxTTL = leaseLife, leaseMost
			}
			return resp, nil
		},
		Revoke: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
			return nil, nil
		},
	}
	read := func(answer func() *logical.Response) map[logical.Operation]framework.OperationFunc {
		return map[logical.Operation]framework.OperationFunc{
			logical.ReadOperation: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
				return answer(), nil
			},
		}
	}
	b := &framework.Backend{
		BackendType: logical.TypeLogical,
		Secrets:     []*framework.Secret{credentials},
		Paths: []*framework.Path{
			{Pattern: "creds", Callbacks: read(func() *logical.Response {
				made.Add(1)
				return grant(credentials, leaseLife, leaseMost)
			})},
			{Pattern: "long", Callbacks: read(func() *logical.Response { return grant(credentials, time.Hour, time.Hour) })},
			{Pattern: "stats", Callbacks: read(func() *logical.Response {
				return &logical.Response{Data: map[string]any{"made": made.Load(), "renewed": renewed.Load()}}
			})},
		},
	}
	return b, b.Setup(ctx, config)
}

func grant(credentials *framework.Secret, life, most time.Duration) *logical.Response {
	resp := credentials.Response(map[string]any{"username": "u" + rand.Text(), "password": "sk-proj-" + rand.Text() + rand.Text()}, nil)
	resp.Secret.TTL, resp.Secret.MaxTTL, resp.Secret.Renewable = life, most, true
	return resp
}
