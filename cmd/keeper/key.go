package main

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

func newKey(a *app) *cobra.Command {
	return group("key", "Show and rotate keeper's own keys", "  keeper key ls\n  keeper key rotate signing",
		newKeyList(a),
		group("rotate", "Put a new key in the place of one of keeper's own", "  keeper key rotate signing\n  keeper key rotate vault",
			newKeyRotateSigning(a), newKeyRotateVault(a), newKeyRotateCA(a), newKeyRotateAudit(a), newKeyRotateAdmin(a),
			newKeyRotateFingerprint(a), newKeyRotateImport(a)))
}

// keyInfo is a key as keeper's routes show it.
type keyInfo struct {
	Purpose   string    `json:"purpose"`
	ID        string    `json:"id"`
	State     string    `json:"state"`
	CreatedAt time.Time `json:"createdAt"`
	Since     time.Time `json:"since"`
}

func newKeyList(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List keeper's own keys, with their ages",
		Long: `List keeper's own keys, with their ages, never what they are: those that sign
tokens, that wrap the secrets, that sign the audit log, the certificate authority's,
those of keyed hashes, and the admin token, where keeper made it.`,
		Example: "  keeper key ls\n  keeper key ls --all --json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Keys []keyInfo `json:"keys"`
			}
			if _, err := c.call(cmd.Context(), http.MethodGet, "/keys", nil, &answer); err != nil {
				return err
			}
			keys := slices.DeleteFunc(answer.Keys, func(k keyInfo) bool { return !all && k.State == "retired" })
			return a.show(map[string]any{"keys": keys}, func() error {
				var rows [][]any
				for _, k := range keys {
					rows = append(rows, []any{k.Purpose, k.State, ageOf(time.Since(k.CreatedAt)), k.CreatedAt, k.ID})
				}
				return a.table([]column{{name: "PURPOSE"}, {name: "STATE"}, {name: "AGE"}, {name: "CREATED"}, {name: "ID", whole: true}}, rows)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show retired keys, too")
	return cmd
}

// ageOf is a time span as people say it.
func ageOf(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func newKeyRotateCA(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ca",
		Short: "Have another certificate authority issue, in two steps",
		Long: `Have another certificate authority issue, in two steps. The first makes the next
one, and puts its certificate beside the current one in /ca.pem, which clients fetch
again. The second, once they have, has the next one issue; the last one stays in
/ca.pem until the rotation after that. No client that trusts both is refused at any
time.`,
		Example: "  keeper key rotate ca",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.rotateSaying(cmd, "ca") },
	}
}

func newKeyRotateAudit(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "audit",
		Short: "Have another key sign the audit log",
		Long: `Have another key sign the audit log from now on. The last one signs that in the log,
and is destroyed: whoever noted it verifies the log as before, and knows the new
one by it. Note the new one, too, as keeper audit key shows it: should the last
one be in other hands, only the new one tells the log from one that they go on
with. Give it to witnesses at a URL, which take no heads by it until then.`,
		Example: "  keeper key rotate audit && keeper audit key > audit.pub",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.rotateSaying(cmd, "audit") },
	}
}

func newKeyRotateFingerprint(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "fingerprint",
		Short: "Name the scanner's findings by another key",
		Long: `Name the scanner's findings by another key: the same value has another fingerprint
from now on. Values that an exception lets pass still do. An exception is listed by
the new fingerprint once its value is met again, since keeper does not hold it; the
last key stays until each is, or has ended, and is destroyed then.`,
		Example: "  keeper key rotate fingerprint",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.rotateSaying(cmd, "fingerprint") },
	}
}

func newKeyRotateImport(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "import",
		Short: "Know imports from the environment by another key",
		Long: `Know imports from the environment (KEEPER_SECRET_…) by another key. What the vault
holds of them is digested anew at once. The last key stays while a digest is of a
value that the vault holds no more, and is destroyed then.`,
		Example: "  keeper key rotate import",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.rotateSaying(cmd, "import") },
	}
}

func newKeyRotateAdmin(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "admin",
		Short: "Put a new admin token in its file; the last one is good for an hour",
		Long: `Put a new admin token in its file, admin.token in the data folder. The last one is
good for an hour more, or until keeper is started anew. A token that was given to
keeper by adminTokenFile is changed there: keeper reload takes it over in the same
way.`,
		Example: "  keeper key rotate admin",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.rotateSaying(cmd, "admin") },
	}
}

// rotateSaying rotates the key of a purpose, and says what keeper says of it.
func (a *app) rotateSaying(cmd *cobra.Command, purpose string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var answer struct {
		Message string `json:"message"`
	}
	raw, err := c.call(cmd.Context(), http.MethodPost, "/keys/rotate", map[string]string{"purpose": purpose}, &answer)
	if err != nil {
		return err
	}
	return a.say(raw, "%s", answer.Message)
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
