package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
)

const backupTick = 500 * time.Millisecond // between two lines of progress

type backupFlags struct {
	recipients, recipientFiles []string
	passphrase                 bool
	passphraseFile             string
	withKey, withoutArchive    bool
	folder, config             string
}

func newBackup(a *app) *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all that keeper is to one encrypted file, while it runs",
		Long: `Write all that keeper is to one file, encrypted by age: its database as it is at
one moment, the signed head of the audit log, the configuration, the certificate
of its authority, and the archived entries. The keeper at --url makes it, while
it serves calls, and it comes as a stream. FILE must not be there yet; it is
written whole or not at all, mode 0600. - writes to standard output.

It is encrypted to the recipients of age that are named, or under a passphrase.
The vault's key is not in it, unless --with-key asks for that: keep the key
apart, since whoever has both has every secret.

--folder makes a backup of a data folder, of a keeper that runs or not, without
asking it; then the audit log does not say so.`,
		Example: "  keeper backup keeper.age -r age1…\n  keeper backup keeper.age -R ~/.ssh/id_ed25519.pub\n" +
			"  keeper backup keeper.age --passphrase --with-key\n  keeper backup keeper.age -R ops.txt --folder /var/lib/keeper",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.backup(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.recipients, "recipient", "r", nil, "encrypt to this `RECIPIENT`: age1…, or an SSH public key; may be given again")
	flags.StringArrayVarP(&f.recipientFiles, "recipients-file", "R", nil, "encrypt to the recipients in this `FILE`, one a line; may be given again")
	flags.BoolVarP(&f.passphrase, "passphrase", "p", false, "encrypt under a passphrase, typed at a prompt")
	flags.StringVar(&f.passphraseFile, "passphrase-file", "", "encrypt under the passphrase in this `FILE`, - for standard input")
	flags.BoolVar(&f.withKey, "with-key", false, "put the vault's key file and the admin token in")
	flags.BoolVar(&f.withoutArchive, "without-archive", false, "leave archived audit entries out")
	flags.StringVar(&f.folder, "folder", "", "back up this data `FOLDER` without asking its keeper")
	flags.StringVar(&f.config, "config", "", "with --folder: the configuration `FILE` to put in")
	return cmd
}

// backupBody is what the route takes.
type backupBody struct {
	Recipients     []string `json:"recipients,omitempty"`
	Passphrase     string   `json:"passphrase,omitempty"`
	WithKey        bool     `json:"withKey,omitempty"`
	WithoutArchive bool     `json:"withoutArchive,omitempty"`
}

func (a *app) backup(ctx context.Context, file string, f backupFlags) error {
	if f.config != "" && f.folder == "" {
		return usagef("--config goes with --folder; a keeper that runs knows its own")
	}
	if file == "-" && isTerminal(a.out) {
		return usagef("a backup is no text; name a file, or send it on with a pipe")
	}
	in, err := f.body(a)
	if err != nil {
		return err
	}
	if f.withKey {
		fmt.Fprintln(a.err, "keeper: the vault's key goes into the backup: whoever can decrypt it has every secret")
	}
	write := func(ctx context.Context, w io.Writer) error { return a.fetchBackup(ctx, in, w) }
	if f.folder != "" {
		if write, err = f.offline(a, in); err != nil {
			return err
		}
	}
	ctx, stop := until(ctx)
	defer stop()
	shown := a.shownBytes()
	defer shown.end()
	if file == "-" {
		return write(ctx, io.MultiWriter(a.out, shown))
	}
	n, err := writeWhole(file, func(w io.Writer) error { return write(ctx, io.MultiWriter(w, shown)) })
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	shown.end()
	return a.say(map[string]any{"file": file, "bytes": n}, "%s: %s; check it with: keeper restore --verify %s", file, byteCount(n), shellQuote(file))
}

// body reads recipients and passphrase.
func (f *backupFlags) body(a *app) (backupBody, error) {
	in := backupBody{Recipients: f.recipients, WithKey: f.withKey, WithoutArchive: f.withoutArchive}
	for _, file := range f.recipientFiles {
		text, err := readFile(file, maxConfigBytes)
		if err != nil {
			return in, fmt.Errorf("reading the recipients: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				in.Recipients = append(in.Recipients, line)
			}
		}
	}
	byPassphrase := f.passphrase || f.passphraseFile != ""
	switch {
	case byPassphrase && len(in.Recipients) > 0:
		return in, usagef("recipients and a passphrase exclude each other; leave one out")
	case !byPassphrase && len(in.Recipients) == 0:
		return in, usagef("nobody could decrypt the backup; name a recipient with -r or -R, or take a --passphrase")
	case byPassphrase:
		p, err := a.readSecret("the backup's passphrase", f.passphraseFile)
		if err != nil {
			return in, err
		}
		if err := a.confirm(f.passphraseFile, p); err != nil {
			return in, err
		}
		in.Passphrase = string(p)
	}
	_, err := in.to()
	return in, err
}

// to is to whom the backup goes.
func (in backupBody) to() (all []age.Recipient, err error) {
	if in.Passphrase == "" {
		all, err = backup.Recipients(in.Recipients)
	} else {
		var one age.Recipient
		one, err = backup.Passphrase(secret.New([]byte(in.Passphrase)))
		all = append(all, one)
	}
	if err != nil {
		return nil, usagef("%v", err)
	}
	return all, nil
}

// offline makes the backup of a folder here.
func (f *backupFlags) offline(a *app, in backupBody) (func(context.Context, io.Writer) error, error) {
	to, err := in.to()
	if err != nil {
		return nil, err
	}
	c, err := loadConfig(f.config)
	if err != nil {
		return nil, err
	}
	r := backup.Request{Recipients: to, WithKey: f.withKey, WithoutArchive: f.withoutArchive}
	return func(ctx context.Context, w io.Writer) error {
		return server.BackupFolder(ctx, f.folder, c.text, version(), r, w)
	}, nil
}

// fetchBackup has the keeper that runs make the backup.
func (a *app) fetchBackup(ctx context.Context, in backupBody, w io.Writer) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.String()+"/api/v1/backup", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.stream(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return &failure{code: exitUnavailable, message: fmt.Sprintf("keeper broke off the backup (%v); try again, its log says why", err)}
	}
	return nil
}

// writeWhole makes a file, mode 0600, of what write writes, and returns how much that
// is. The file is there when all of it is on the disk, or not at all; one that is there
// already stays as it is.
func writeWhole(file string, write func(io.Writer) error) (n int64, err error) {
	if _, err := os.Lstat(file); err == nil {
		return 0, fmt.Errorf("%s is there already, and is not overwritten; name another file", file)
	}
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return 0, fmt.Errorf("writing %s: %w", file, err)
	}
	defer func() {
		if gone := os.Remove(part.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	if err := write(part); err != nil {
		return 0, errors.Join(err, part.Close())
	}
	info, err := part.Stat()
	if err = errors.Join(err, part.Sync(), part.Close()); err != nil {
		return 0, fmt.Errorf("writing %s: %w", file, err)
	}
	// A link, and no renaming: that would replace a file that somebody made meanwhile.
	if err := os.Link(part.Name(), file); err != nil {
		return 0, fmt.Errorf("writing %s: %w", file, err)
	}
	folder, err := os.Open(filepath.Dir(file))
	if err == nil {
		err = errors.Join(folder.Sync(), folder.Close())
	}
	return info.Size(), err
}

// shownBytes counts what is written and shows it on a terminal.
type shownBytes struct {
	to   io.Writer // nil: nobody looks
	n    int64
	last time.Time
	line bool
}

func (a *app) shownBytes() *shownBytes {
	if !isTerminal(a.err) || a.env["TERM"] == "dumb" {
		return &shownBytes{}
	}
	return &shownBytes{to: a.err, last: time.Now()}
}

// Write implements io.Writer.
func (s *shownBytes) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	s.show(byteCount(s.n) + " written")
	return len(p), nil
}

// of shows how much of a whole was gone through.
func (s *shownBytes) of(done, total int64) {
	s.show(fmt.Sprintf("%s of %s", byteCount(done), byteCount(total)))
}

func (s *shownBytes) show(text string) {
	if s.to == nil || time.Since(s.last) < backupTick {
		return
	}
	s.last, s.line = time.Now(), true
	fmt.Fprint(s.to, eraseLine+text)
}

func (s *shownBytes) end() {
	if s.line {
		fmt.Fprint(s.to, eraseLine)
		s.line = false
	}
}
