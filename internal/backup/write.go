package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"filippo.io/age"

	"github.com/superinstance/keeper/internal/secret"
)

// Request says to whom a backup goes, and what is in it beside the database.
type Request struct {
	Recipients []age.Recipient
	// WithKey puts the vault's key file and the admin token in: whoever can decrypt
	// such a backup has every secret.
	WithKey bool
	// WithoutArchive leaves the entries out that left the audit log for files.
	WithoutArchive bool
}

// Part is a file that goes into a backup.
type Part struct {
	Name  string
	Bytes int64
	// Write writes so many bytes.
	Write func(w io.Writer) error
}

// Text is a part that is at hand.
func Text(name string, text []byte) Part {
	return Part{name, int64(len(text)), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}}
}

// Secret is a part that nobody may see.
func Secret(name string, text secret.Value) Part { return Text(name, text.Expose()) }

// OnDisk is a part that is in a file, which must not change.
func OnDisk(name, path string) (Part, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Part{}, err
	}
	return Part{name, info.Size(), func(w io.Writer) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, io.LimitReader(f, info.Size()))
		return err
	}}, nil
}

// Write writes a backup of the parts to w, as a stream: it holds no more than a piece of
// it. Where an error is returned, what was written is none.
func Write(w io.Writer, to []age.Recipient, m Manifest, parts []Part) error {
	m.Format = Format
	for _, p := range parts {
		m.Files = append(m.Files, File{p.Name, p.Bytes})
	}
	sealed, err := age.Encrypt(w, to...)
	if err != nil {
		return fmt.Errorf("encrypting the backup: %w", err)
	}
	archive := &writer{out: tar.NewWriter(sealed), at: m}
	if err := archive.all(parts); err != nil {
		return err
	}
	if err := archive.out.Close(); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	if err := sealed.Close(); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	return nil
}

type writer struct {
	out *tar.Writer
	at  Manifest
}

func (a *writer) all(parts []Part) error {
	if err := a.json(manifestName, a.at); err != nil {
		return err
	}
	sums := map[string]string{}
	for _, p := range parts {
		hash := sha256.New()
		if err := a.part(p, hash); err != nil {
			return fmt.Errorf("backing up %s: %w", p.Name, err)
		}
		sums[p.Name] = hex.EncodeToString(hash.Sum(nil))
	}
	return a.json(sumsName, sums)
}

func (a *writer) json(name string, v any) error {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(v); err != nil {
		return fmt.Errorf("writing the backup's %s: %w", name, err)
	}
	return a.part(Text(name, text.Bytes()), io.Discard)
}

// part writes one file. A part that writes too little is an error of the next header's.
func (a *writer) part(p Part, hash io.Writer) error {
	err := a.out.WriteHeader(&tar.Header{Name: p.Name, Size: p.Bytes, Mode: 0o600, ModTime: a.at.CreatedAt, Format: tar.FormatPAX})
	if err != nil {
		return err
	}
	if err := p.Write(io.MultiWriter(a.out, hash)); err != nil {
		return err
	}
	return a.out.Flush()
}
