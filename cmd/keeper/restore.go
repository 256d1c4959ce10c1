package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store"
)

type restoreFlags struct {
	verify         bool
	revokeTokens   bool
	identities     []string
	passphrase     bool
	passphraseFile string
	vaultKeyFile   string
	auditKey       string
}

func newRestore(a *app) *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Check a backup, and make a data folder of it",
		Long: `Check the backup in FILE and make the data folder of it, which --data names and
which must be empty or not there. The check decrypts every byte, looks at every
page of the database, verifies the audit log up to the signed head in the backup
and holds the rows of the store against it; where the vault's key is in the backup
or given, it opens every secret. Nothing is written before all of that holds, and
a restore that is broken off leaves no folder that keeper would start on.

--verify checks and writes nothing anywhere.

A restore puts the past back: what was revoked, rotated or deleted after the
backup was made is as it was. With --revoke-tokens no token of then is good; agents
get others by their secrets. The keeper that starts next says store.restored in
its log; a witness that has seen more of the log refuses it.`,
		Example: "  keeper restore keeper.age --verify -i key.txt\n  keeper restore keeper.age -i key.txt --data /var/lib/keeper\n" +
			"  keeper restore keeper.age --passphrase --vault-key-file vault.key --audit-key audit.pub",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.restore(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.verify, "verify", false, "check the backup and write nothing")
	flags.BoolVar(&f.revokeTokens, "revoke-tokens", false, "let no token of the backup be good, of which some may have been revoked since")
	flags.StringArrayVarP(&f.identities, "identity", "i", nil, "`FILE` of the identity to decrypt with: age's, or an SSH key; may be given again")
	flags.BoolVarP(&f.passphrase, "passphrase", "p", false, "decrypt with a passphrase, typed at a prompt")
	flags.StringVar(&f.passphraseFile, "passphrase-file", "", "decrypt with the passphrase in this `FILE`, - for standard input")
	flags.StringVar(&f.vaultKeyFile, "vault-key-file", "", "`FILE` of the vault's key, to check that it opens the secrets (default KEEPER_VAULT_KEY, or the backup's)")
	flags.StringVar(&f.auditKey, "audit-key", "", "the log's public `KEY` or a file that holds it; else the one in the backup is believed")
	return cmd
}

func (a *app) restore(ctx context.Context, file string, f restoreFlags) error {
	identities, err := f.decryptWith(a)
	if err != nil {
		return err
	}
	check := server.BackupCheck{}
	if check.AuditKey, err = readAuditKey(f.auditKey); err != nil {
		return err
	}
	if check.Key, err = a.keyToCheck(f.vaultKeyFile); err != nil {
		return err
	}
	source, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("opening the backup: %w", err)
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return fmt.Errorf("opening the backup: %w", err)
	}
	b, err := backup.Open(source, info.Size(), identities)
	if err != nil {
		return unusable(file, err)
	}
	ctx, stop := until(ctx)
	defer stop()
	closeUmask()
	shown := a.shownBytes()
	defer shown.end()
	check.Progress = shown.of
	report, err := server.CheckBackup(ctx, b, check)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return unusable(file, err)
	}
	shown.end()
	if f.verify {
		return a.verifiedBackup(file, b, report)
	}
	return a.restoreTo(ctx, b, f.revokeTokens, report, shown)
}

func (a *app) restoreTo(ctx context.Context, b *backup.Backup, revokeTokens bool, report server.BackupReport, shown *shownBytes) error {
	dir := firstOf(a.dataFlag, a.env["KEEPER_DATA"], a.stateFolder())
	if dir == "" {
		return usagef("no data folder is named; give one with --data or KEEPER_DATA")
	}
	err := server.RestoreBackup(ctx, b, dir, revokeTokens, shown.of)
	shown.end()
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case errors.Is(err, backup.ErrNotEmpty):
		return fmt.Errorf("restoring to %s: %w, and nothing is overwritten; name another with --data", dir, err)
	case errors.Is(err, store.ErrHeld):
		return fmt.Errorf("restoring to %s: %w", dir, err)
	case err != nil:
		return err
	}
	return a.show(reportOf(b, report, dir), func() error {
		a.sayReport(b, report)
		fmt.Fprintf(a.out, "It is in %s.\n", printable(dir))
		if !b.Manifest.VaultKey.Included {
			fmt.Fprintf(a.out, "The vault's key is not in it: put %s.\n", keyPlace(b, dir))
		}
		if b.File(backup.Configuration) != nil {
			fmt.Fprintf(a.out, "The configuration is %s: look whether it fits here, and start with --config.\n", printable(dir+"/"+backup.Configuration))
		}
		fmt.Fprintln(a.out, "What was revoked, rotated or deleted after the backup was made is as it was then: do it again.")
		return nil
	})
}

// keyPlace says what to do with the key that a restored keeper needs.
func keyPlace(b *backup.Backup, dir string) string {
	if b.Manifest.VaultKey.Kind == "passphrase" {
		return fmt.Sprintf("the passphrase of key %s into KEEPER_VAULT_KEY or the file of vaultKeyFile", b.Manifest.VaultKey.ID)
	}
	return fmt.Sprintf("the file of key %s to %s/%s, mode 0600, or give it as keeper got it before", b.Manifest.VaultKey.ID, printable(dir), backup.VaultKeyFile)
}

// decryptWith reads the identities that can decrypt the backup.
func (f *restoreFlags) decryptWith(a *app) (all []age.Identity, err error) {
	if f.passphrase || f.passphraseFile != "" {
		p, err := a.readSecret("the backup's passphrase", f.passphraseFile)
		if err != nil {
			return nil, err
		}
		id, err := backup.PassphraseIdentity(secret.New(p))
		if err != nil {
			return nil, usagef("%v", err)
		}
		all = append(all, id)
	}
	for _, file := range f.identities {
		text, err := readFile(file, maxSecretBytes)
		if err != nil {
			return nil, fmt.Errorf("reading an identity: %w", err)
		}
		some, err := backup.Identities(secret.New(text))
		clear(text)
		if err != nil {
			return nil, fmt.Errorf("reading the identity in %s: %w", file, err)
		}
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil, usagef("name who can decrypt the backup, with -i FILE or --passphrase")
	}
	return all, nil
}

// keyToCheck is the vault's key as keeper would be given it, from a file of keeper's own
// or any other.
func (a *app) keyToCheck(file string) (secret.Value, error) {
	if file == "" {
		return a.vaultKey("")
	}
	text, err := readFile(file, maxSecretBytes)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the vault key: %w", err)
	}
	defer clear(text)
	return server.KeyMaterial(secret.New(text)), nil
}

// unusable says what is wrong with a backup.
func unusable(file string, err error) error {
	mend := ""
	switch {
	case errors.Is(err, backup.ErrWrongIdentity):
		mend = "; give the identity of one of its recipients with -i, or its --passphrase"
	case errors.Is(err, backup.ErrDamaged), errors.Is(err, store.ErrDamaged):
		mend = "; take another backup"
	}
	return &failure{code: exitRefused, message: fmt.Sprintf("%s cannot be restored: %v%s", file, err, mend)}
}

// restoredInfo is what scripts read of a backup.
type restoredInfo struct {
	Manifest backup.Manifest `json:"manifest"`
	Folder   string          `json:"folder,omitempty"` // that it was restored to
	Entries  int64           `json:"entries"`          // that were verified
	Agents   int             `json:"agents"`
	Secrets  int             `json:"secrets"`
	Opened   bool            `json:"opened"` // the secrets were, with the key
	Checked  bool            `json:"checked"`
}

func reportOf(b *backup.Backup, r server.BackupReport, dir string) restoredInfo {
	return restoredInfo{b.Manifest, dir, r.Entries, r.Agents, r.Secrets, r.Opened, !r.Unchecked}
}

func (a *app) verifiedBackup(file string, b *backup.Backup, r server.BackupReport) error {
	return a.show(reportOf(b, r, ""), func() error {
		a.sayReport(b, r)
		if !r.Opened && !r.Unchecked {
			fmt.Fprintf(a.out, "Not checked: whether key %s opens the secrets; give it with --vault-key-file or KEEPER_VAULT_KEY.\n", b.Manifest.VaultKey.ID)
		}
		return nil
	})
}

func (a *app) sayReport(b *backup.Backup, r server.BackupReport) {
	m := b.Manifest
	fmt.Fprintf(a.out, "%s a backup of %s by keeper %s, schema %d, every byte as it was written.\n", a.paint(green, "OK:"), when(m.CreatedAt), printable(m.Keeper), m.Schema)
	if r.Unchecked {
		fmt.Fprintln(a.out, "It is of an earlier schema: its rows and its log are checked by the keeper that starts on it, which brings them up.")
		return
	}
	opened := "not opened"
	if r.Opened {
		opened = "all opened by key " + m.VaultKey.ID
	}
	fmt.Fprintf(a.out, "The audit log is whole: %d entries, by the signed head over %d. %s, %s, %s.\n", r.Entries, m.Log.Entries, plural(r.Agents, "agent"), plural(r.Secrets, "secret"), opened)
}
