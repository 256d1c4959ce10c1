package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
)

const maxTextBytes = 16 << 20 // of the manifest, and of the sums

// Backup is one that was opened.
type Backup struct {
	Manifest Manifest
	sums     map[string]string
	files    map[string]*io.SectionReader
}

// Open reads what the backup in r, which is size bytes long, says of itself. Nothing of
// its files was looked at yet: Check and Extract do that. The error wraps ErrNoBackup,
// ErrWrongIdentity or ErrDamaged.
func Open(r io.ReaderAt, size int64, identities []age.Identity) (*Backup, error) {
	plain, length, err := age.DecryptReaderAt(r, size, identities...)
	var foreign *age.NoIdentityMatchError
	switch {
	case errors.As(err, &foreign):
		return nil, ErrWrongIdentity
	case err != nil && !startsAsAge(r):
		return nil, ErrNoBackup
	case err != nil:
		return nil, ErrDamaged
	}
	b := &Backup{files: map[string]*io.SectionReader{}}
	if err := b.index(io.NewSectionReader(plain, 0, length)); err != nil {
		return nil, err
	}
	return b, b.complete()
}

func startsAsAge(r io.ReaderAt) bool {
	const intro = "age-encryption.org/v1\n"
	head := make([]byte, len(intro))
	_, err := r.ReadAt(head, 0)
	return err == nil && string(head) == intro
}

// index finds where each file is.
func (b *Backup) index(plain *io.SectionReader) error {
	archive := tar.NewReader(plain)
	for n := 0; ; n++ {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case err != nil && n == 0:
			return ErrNoBackup
		case err != nil:
			return ErrDamaged
		}
		// The archive's reader reads headers alone: where it stands the file begins.
		at, err := plain.Seek(0, io.SeekCurrent)
		if err != nil {
			return ErrDamaged
		}
		file := io.NewSectionReader(plain, at, header.Size)
		switch {
		case header.Typeflag != tar.TypeReg:
			return fmt.Errorf("%w: it holds something else than files", ErrNoBackup)
		case n == 0 && header.Name == manifestName:
			err = readJSON(file, &b.Manifest)
		case header.Name == sumsName:
			err = readJSON(file, &b.sums)
		case !known(header.Name) || b.files[header.Name] != nil:
			return fmt.Errorf("%w: a file in it is none of a keeper's", ErrNoBackup)
		default:
			b.files[header.Name] = file
		}
		if err != nil {
			return err
		}
	}
}

func readJSON(file *io.SectionReader, v any) error {
	if file.Size() > maxTextBytes {
		return ErrDamaged
	}
	text, err := io.ReadAll(file)
	if err != nil || json.Unmarshal(text, v) != nil {
		return ErrDamaged
	}
	return nil
}

// complete holds the manifest, the files and the sums against each other.
func (b *Backup) complete() error {
	if b.Manifest.Format != Format {
		return fmt.Errorf("%w of a form that this keeper reads; restore it with the keeper that made it", ErrNoBackup)
	}
	if len(b.Manifest.Files) != len(b.files) || len(b.sums) != len(b.files) || b.files[Database] == nil {
		return ErrDamaged
	}
	for _, f := range b.Manifest.Files {
		if b.files[f.Name] == nil || b.files[f.Name].Size() != f.Bytes || b.sums[f.Name] == "" {
			return ErrDamaged
		}
	}
	return nil
}

// Names are those of the files, as they follow.
func (b *Backup) Names() (all []string) {
	for _, f := range b.Manifest.Files {
		all = append(all, f.Name)
	}
	return all
}

// File is one of the files; nil where there is none of the name. Reading it returns an
// error where the backup was changed, though not where one that could encrypt put other
// bytes there: Check tells that.
func (b *Backup) File(name string) *io.SectionReader {
	if b.files[name] == nil {
		return nil
	}
	return io.NewSectionReader(b.files[name], 0, b.files[name].Size())
}

// Progress is told how much was gone through.
type Progress func(done, total int64)

// Check reads every file and holds it against its sum. The error wraps ErrDamaged.
func (b *Backup) Check(ctx context.Context, progress Progress) error {
	return b.each(ctx, progress, func(string) (io.WriteCloser, error) { return discard{}, nil })
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// each copies every file to where into says, and holds it against its sum. Those that
// are not the database come first.
func (b *Backup) each(ctx context.Context, progress Progress, into func(name string) (io.WriteCloser, error)) error {
	c := &counter{ctx: ctx, progress: progress}
	for _, f := range b.Manifest.Files {
		c.total += f.Bytes
	}
	names := b.Names()
	slices.SortStableFunc(names, func(x, y string) int { return boolean(x == Database) - boolean(y == Database) })
	for _, name := range names {
		out, err := into(name)
		if err != nil {
			return fmt.Errorf("restoring %s: %w", name, err)
		}
		err = b.copy(name, out, c)
		if closed := out.Close(); err == nil && closed != nil {
			err = fmt.Errorf("restoring %s: %w", name, closed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func boolean(is bool) int {
	if is {
		return 1
	}
	return 0
}

func (b *Backup) copy(name string, out io.Writer, c *counter) error {
	hash := sha256.New()
	written := &keptError{Writer: out}
	_, err := io.Copy(io.MultiWriter(hash, c, written), b.File(name))
	switch {
	case c.ctx.Err() != nil:
		return c.ctx.Err()
	case written.err != nil:
		return fmt.Errorf("restoring %s: %w", name, written.err)
	case err != nil, hex.EncodeToString(hash.Sum(nil)) != b.sums[name]:
		return fmt.Errorf("reading %s: %w", name, ErrDamaged)
	}
	return nil
}

// keptError keeps the error of a writer, to be told from one of the reader.
type keptError struct {
	io.Writer
	err error
}

func (k *keptError) Write(p []byte) (n int, err error) {
	n, k.err = k.Writer.Write(p)
	return n, k.err
}

type counter struct {
	ctx         context.Context // of the copy under way
	progress    Progress
	done, total int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
	return len(p), c.ctx.Err()
}
