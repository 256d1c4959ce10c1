package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const (
	signingAge      = 365 * 24 * time.Hour // after which a new signing key is due
	certificateLeft = 20 * 24 * time.Hour  // that a certificate should still be good

	restoreKey = "install -m 600 BACKUP %s   # BACKUP is your copy of the vault key"
)

// checkKeys looks whether the vault's key is there, and how old the others are.
func (d *doctor) checkKeys(ctx context.Context) {
	if !d.hasData() {
		return
	}
	before := len(d.found.Findings)
	keks, keys, err := d.storedKeys(ctx)
	d.checkVaultKey(len(keks) > 0)
	for _, k := range keys {
		if k.Purpose == "signing" && k.State == store.Current && time.Since(k.CreatedAt) > signingAge {
			d.warn("tokens are signed with a key of "+when(k.CreatedAt), "A key that was copied unnoticed stays good for forging tokens until it is replaced.", d.own("key", "rotate", "signing"))
		}
	}
	d.checkCertificate(filepath.Join(d.data, "ca.pem"), "keeper's certificate authority",
		"Then no tool connects by TLS any more; a start renews it, and tools must trust the new one.", "sudo systemctl restart keeper && "+d.own("ca", "trust"))
	if file := d.config.TLS.CertFile; file != "" {
		d.checkCertificate(file, "keeper's certificate "+file, "Then no agent connects to keeper any more.", "sudo certbot renew && sudo systemctl restart keeper")
	}
	if len(d.found.Findings) > before {
		return
	}
	if err != nil {
		d.note("the keys in the store cannot be looked at; see the store's finding")
		return
	}
	d.ok("the vault key is there, and the signing key is not old")
}

// storedKeys are the keys in the store, sealed as they are; none where there is no
// database.
func (d *doctor) storedKeys(ctx context.Context) ([]store.KEK, []store.Key, error) {
	db, err := d.place().OpenToRead(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer db.Close()
	keks, err := db.KEKs(ctx)
	if err != nil {
		return nil, nil, err
	}
	keys, err := db.Keys(ctx)
	return keks, keys, err
}

// vaultKeyFile is where the vault's key is, or would be.
func (d *doctor) vaultKeyFile() string {
	return firstOf(d.config.VaultKeyFile, filepath.Join(d.data, "vault.key"))
}

// checkVaultKey looks whether the vault's key is where keeper reads it; needed is
// whether the store holds what it opens.
func (d *doctor) checkVaultKey(needed bool) {
	if d.env["KEEPER_VAULT_KEY"] != "" {
		d.warn("the vault key is in the environment, by KEEPER_VAULT_KEY", "Every program that is started from here has it.",
			"unset KEEPER_VAULT_KEY   # and name a file of mode 600 by vaultKeyFile")
		return
	}
	file := d.vaultKeyFile()
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && needed:
		d.problem("the vault key "+file+" is missing", "Without it no secret in the store can be opened, and keeper refuses to start.", strings.ReplaceAll(restoreKey, "%s", shellQuote(file)))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		d.problem("the vault key "+file+" cannot be looked at: "+causeOf(err), "Keeper cannot read it either, if it runs as you.", "ls -la "+shellQuote(filepath.Dir(file)))
	case err == nil && (!info.Mode().IsRegular() || info.Size() == 0):
		d.problem("the vault key "+file+" is empty, or no file", "Without it no secret in the store can be opened, and keeper refuses to start.", strings.ReplaceAll(restoreKey, "%s", shellQuote(file)))
	}
	if _, err := os.Stat(file + ".next"); err == nil {
		d.warn("a rotation of the vault key was not finished: there is "+file+".next", "Until the next start, two files are needed to open the store.", d.ownServe())
	}
}

// checkCertificate looks for how long the first certificate of a file is good.
func (d *doctor) checkCertificate(file, name, why, mend string) {
	text, err := readFile(file, maxAuthorityBytes)
	block, _ := pem.Decode(text)
	if err != nil || block == nil {
		return // keeper says so at its start, or makes it anew
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return
	}
	switch left := time.Until(cert.NotAfter); {
	case left <= 0:
		d.problem(name+" ended on "+when(cert.NotAfter), why, mend)
	case left < certificateLeft:
		d.warn(name+" is good until "+when(cert.NotAfter), why, mend)
	}
}
