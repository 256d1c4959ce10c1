package api

import (
	"context"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

// Key is one of keeper's own.
type Key struct {
	Purpose   string    `json:"purpose" doc:"signing, vault, audit, ca, fingerprint, import, admin"`
	ID        string    `json:"id"`
	State     string    `json:"state" enum:"next,current,previous,retired" doc:"Whether it is used: next is published ahead of its use, and what previous has made is still taken"`
	CreatedAt time.Time `json:"createdAt"`
	Since     time.Time `json:"since" doc:"When it entered its state"`
}

// ownKeys are what an API does with them.
type ownKeys struct {
	list            func(ctx context.Context) ([]Key, error)
	rotateAuthority func(ctx context.Context) (issues bool, err error)
	rotateAdmin     func(ctx context.Context) (until time.Time, err error)

	rotateFingerprints func(ctx context.Context) (waits bool, err error)
}

type keysBody struct {
	Keys []Key `json:"keys" nullable:"false" doc:"In no order"`
}

func (s *surface) listKeys(ctx context.Context, _ *struct{}) (*output[keysBody], error) {
	if s.keys.list == nil {
		return nil, errNoRoute
	}
	all, err := s.keys.list(ctx)
	if err != nil {
		return nil, err
	}
	return &output[keysBody]{keysBody{append([]Key{}, all...)}}, nil
}

func (s *surface) rotateAuthority(ctx context.Context) (*output[done], error) {
	if s.keys.rotateAuthority == nil {
		return nil, errNoRoute
	}
	issues, err := s.keys.rotateAuthority(ctx)
	if err != nil {
		return nil, err
	}
	if issues {
		return said("The next authority issues now; the last one is still in /ca.pem, for what it issued. Rotate once more only when no client has the last one alone.")
	}
	return said("The next authority is in /ca.pem beside the current one, which still issues. Have all clients fetch it, and then rotate again: then the next one issues.")
}

func (s *surface) rotateAdmin(ctx context.Context) (*output[done], error) {
	if s.keys.rotateAdmin == nil {
		return nil, errNoRoute
	}
	until, err := s.keys.rotateAdmin(ctx)
	if err != nil {
		return nil, err
	}
	return said(fmt.Sprintf("A new admin token is in its file; the last one is good until %s, or keeper's next start.", until.Format(time.RFC3339)))
}

func (s *surface) rotateAudit(ctx context.Context) (*output[done], error) {
	if err := s.vault.RotateAudit(ctx, s.audit); err != nil {
		return nil, err
	}
	return said(fmt.Sprintf("The audit log is signed by another key, %s. Note it beside the last one, by which what was signed before is verified, and give it to the witnesses.", s.audit.PublicKey()))
}

func (s *surface) rotateFingerprints(ctx context.Context) (*output[done], error) {
	if s.keys.rotateFingerprints == nil {
		return nil, errNoRoute
	}
	waits, err := s.keys.rotateFingerprints(ctx)
	if err != nil {
		return nil, err
	}
	if waits {
		return said("Findings have other fingerprints from now on. Values that pass still do, and are listed by the new ones as they are met; until then the last key stays.")
	}
	return said("Findings have other fingerprints from now on; the last key is destroyed.")
}

func (s *surface) rotateImports(ctx context.Context) (*output[done], error) {
	settled, err := s.vault.RotateImports(ctx)
	if err != nil {
		return nil, err
	}
	if !settled {
		return said("Imports are known by another key from now on. Some were of values that the vault holds no more; the last key stays until keeper is started with those, or with others in their place.")
	}
	return said("Imports are known by another key from now on; the last one is destroyed.")
}

type rotateKeyInput struct {
	Body struct {
		Purpose     string        `json:"purpose" enum:"signing,vault,ca,admin,audit,fingerprint,import"`
		NewVaultKey *secret.Value `json:"newVaultKey,omitempty" doc:"A passphrase, or base64: and 32 bytes; absent: a new key is made in the key file"`
	} `nameHint:"RotateKeyRequest"`
}

func (s *surface) rotateKey(ctx context.Context, in *rotateKeyInput) (*output[done], error) {
	if in.Body.Purpose != "vault" && in.Body.NewVaultKey != nil {
		return nil, &fieldError{"newVaultKey", "it must be left out where the purpose is another than vault"}
	}
	if err := s.mayRotate(ctx, in.Body.Purpose); err != nil {
		return nil, err
	}
	switch in.Body.Purpose {
	case "ca":
		return s.rotateAuthority(ctx)
	case "admin":
		return s.rotateAdmin(ctx)
	case "audit":
		return s.rotateAudit(ctx)
	case "fingerprint":
		return s.rotateFingerprints(ctx)
	case "import":
		return s.rotateImports(ctx)
	case "signing":
		if err := s.auth.RotateSigning(ctx, callOf(ctx).claims); err != nil {
			return nil, err
		}
		return said("The signing key is rotated; tokens signed with the last one stay valid.")
	}
	source, err := s.newVaultKey(in.Body.NewVaultKey)
	if err != nil {
		return nil, err
	}
	if err := s.vault.RotateKEK(ctx, source); err != nil {
		return nil, err
	}
	return said("The vault's key is rotated; give keeper the new one at its next start.")
}

func (s *surface) newVaultKey(given *secret.Value) (vault.KeySource, error) {
	if given == nil && s.keyFile == "" {
		return vault.KeySource{}, &fieldError{"newVaultKey", "it must be given, since this vault's key is in no key file"}
	}
	if given == nil {
		return vault.KeyFile(s.keyFile), nil
	}
	source, err := vault.ParseKeySource(*given)
	if err != nil {
		return source, &fieldError{"newVaultKey", "it must be a passphrase of 12 characters or more, or base64: and 32 bytes in base64"}
	}
	return source, nil
}
