package api

import (
	"context"
	"fmt"
	"io"

	"github.com/danielgtaylor/huma/v2"

	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/secret"
)

type backupInput struct {
	Body struct {
		Recipients     []string      `json:"recipients,omitempty" nullable:"false" doc:"age1…, ssh-ed25519 … or ssh-rsa … each; exclude a passphrase"`
		Passphrase     *secret.Value `json:"passphrase,omitempty" doc:"12 characters or more, in place of recipients"`
		WithKey        bool          `json:"withKey,omitempty" doc:"Put the vault's key file and the admin token in: whoever can decrypt the backup then has every secret"`
		WithoutArchive bool          `json:"withoutArchive,omitempty" doc:"Leave the entries out that left the audit log for files"`
	} `nameHint:"BackupRequest"`
}

// makeBackup answers with the backup as it is made. One that is broken off does not end
// as an answer should.
func (s *surface) makeBackup(ctx context.Context, in *backupInput) (*huma.StreamResponse, error) {
	if s.backup == nil {
		return nil, errNoRoute
	}
	if s.noBackup != "" {
		return nil, &fieldError{"store", s.noBackup}
	}
	r := backup.Request{WithKey: in.Body.WithKey, WithoutArchive: in.Body.WithoutArchive}
	switch given := in.Body.Passphrase; {
	case given != nil && len(in.Body.Recipients) > 0:
		return nil, &fieldError{"passphrase", "it must be left out where recipients are named"}
	case given != nil:
		to, err := backup.Passphrase(*given)
		if err != nil {
			return nil, &fieldError{"passphrase", err.Error()}
		}
		r.Recipients = append(r.Recipients, to)
	default:
		to, err := backup.Recipients(in.Body.Recipients)
		if err != nil {
			return nil, &fieldError{"recipients", err.Error()}
		}
		r.Recipients = to
	}
	if r.WithKey && s.keyFile == "" {
		return nil, &fieldError{"withKey", "the vault's key was given to keeper from elsewhere and lies in no key file; leave it out, and keep the key where it is kept"}
	}
	write, err := s.backup(ctx, r)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", "application/octet-stream")
		hc.SetHeader("Content-Disposition", fmt.Sprintf(`attachment; filename="keeper-%s.age"`, s.now().UTC().Format("20060102T150405Z")))
		s.file(ctx, hc, func(ctx context.Context, w io.Writer) error { return write(ctx, w) })
	}}, nil
}
