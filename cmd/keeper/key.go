package main

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func newKey(a *app) *cobra.Command {
	return group("key", "Rotate keeper's own keys", "  keeper key rotate signing",
		group("rotate", "Put a new key in the place of one of keeper's own", "  keeper key rotate signing\n  keeper key rotate vault",
			newKeyRotateSigning(a), newKeyRotateVault(a)))
}

func newKeyRotateSigning(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "signing",
		Short: "Sign new tokens with the next key",
		Long: `Sign new tokens with the next key. Tokens that were signed with the key before stay
valid until they expire; it verifies until the next rotation.`,
		Example: "  keeper key rotate signing",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.rotate(cmd, map[string]string{"purpose": "signing"}, "the signing key is rotated; tokens that are in force stay so")
		},
	}
}

func newKeyRotateVault(a *app) *cobra.Command {
	var file string
	var prompt bool
	cmd := &cobra.Command{
		Use:   "vault",
		Short: "Wrap every secret anew under another vault key, while calls go on",
		Long: `Wrap every secret anew under another vault key, while calls go on. A keeper that
has its key in a key file makes a new one there. One that is given its key by
KEEPER_VAULT_KEY or vaultKeyFile needs the new one, by --prompt or --file, and
must be given it at its next start.`,
		Example: "  keeper key rotate vault\n  keeper key rotate vault --prompt\n  openssl rand -base64 24 | tee new.key | keeper key rotate vault --file -",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := map[string]string{"purpose": "vault"}
			if prompt || file != "" {
				material, err := a.readSecret("the new vault key", file)
				if err != nil {
					return err
				}
				if err := a.confirm(file, material); err != nil {
					return err
				}
				in["newVaultKey"] = string(material)
			}
			return a.rotate(cmd, in, "the vault key is rotated; back up the new one apart from the data folder")
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "`FILE` that holds the new key, - for standard input")
	cmd.Flags().BoolVar(&prompt, "prompt", false, "type the new key at a prompt that does not show it")
	return cmd
}

// confirm has a key that was typed typed again: a slip would shut everybody out.
func (a *app) confirm(file string, material []byte) error {
	if file != "" || !isTerminal(a.in) {
		return nil
	}
	again, err := a.ask("the same again")
	if err != nil {
		return fmt.Errorf("reading the new vault key again: %w", err)
	}
	if !bytes.Equal(again, material) {
		return usagef("the two keys differ; nothing was changed")
	}
	return nil
}

func (a *app) rotate(cmd *cobra.Command, in map[string]string, done string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	raw, err := c.call(cmd.Context(), http.MethodPost, "/keys/rotate", in, nil)
	if err != nil {
		return err
	}
	return a.say(raw, "%s", done)
}
