package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"syscall"
)

// privateFiles are those of the data folder that hold keys or tokens, or rows that
// name every agent and call.
var privateFiles = []struct{ pattern, why string }{
	{"vault.key*", "Whoever reads it and the store has every secret."},
	{"admin.token", "Whoever reads it can do everything with keeper."},
	{"*.pem.key", "Whoever reads it can stand in for keeper."},
	{"keeper.db*", "It names every agent and call, and holds the sealed secrets."},
}

// checkPermissions looks who else can read or change what is keeper's.
func (d *doctor) checkPermissions(context.Context) {
	before := len(d.found.Findings)
	if d.hasData() {
		d.checkFolder(d.data)
		for _, p := range privateFiles {
			d.checkPrivate(filepath.Join(d.data, p.pattern), p.why)
		}
	}
	for _, file := range []string{d.config.VaultKeyFile, d.config.AdminTokenFile, d.env["KEEPER_ADMIN_TOKEN_FILE"], d.config.TLS.KeyFile} {
		if file != "" {
			d.checkPrivate(file, "Whoever reads it can act as keeper or as its operator.")
		}
	}
	if d.configFile != "" && d.env["KEEPER_STORE"] == "" && hasPassword(d.config.Store) {
		d.checkPrivate(d.configFile, "Whoever reads it has the password of keeper's database.")
	}
	if config := d.configFile; config != "" {
		d.checkChangeable(config, "Whoever changes it says where keys are sent, and which commands keeper runs.")
	}
	if folder := d.configFolder(); folder != "" {
		d.checkPrivate(filepath.Join(folder, "agents", "*.secret"), "Whoever reads it can act as the agent.")
	}
	if folder := d.cacheFolder(); folder != "" {
		d.checkPrivate(filepath.Join(folder, "tokens", "*.json"), "Whoever reads it has a token of an agent.")
	}
	if len(d.found.Findings) == before {
		d.ok("nobody else can read or change what is keeper's")
	}
}

// hasPassword reports whether the address of a store holds the password to it.
func hasPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return address != "" // for all that is known
	}
	_, has := u.User.Password()
	return has || u.Query().Has("password")
}

// checkFolder looks at the data folder, whose owner must be who runs keeper, and at
// those that it is in.
func (d *doctor) checkFolder(folder string) {
	info, err := os.Stat(folder)
	if err != nil {
		return // hasData said so
	}
	quoted := shellQuote(folder)
	switch mode := info.Mode().Perm(); {
	case mode&0o022 != 0:
		d.problem(fmt.Sprintf("others can change the data folder %s (mode %04o)", folder, mode), "They can put another store or another key in its place.", "chmod 700 "+quoted)
	case mode&0o055 != 0:
		d.warn(fmt.Sprintf("others can look into the data folder %s (mode %04o)", folder, mode), "What is in it is keeper's alone.", "chmod 700 "+quoted)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() && os.Geteuid() != 0 {
		d.warn("the data folder "+folder+" is another user's: "+userName(owner.Uid), "Keeper has to run as that user, and most of this can be seen by that user alone.",
			"sudo -u "+shellQuote(userName(owner.Uid))+" "+d.own("doctor", "--data", folder))
	}
	above, err := filepath.Abs(folder)
	if err != nil {
		return
	}
	for above != filepath.Dir(above) {
		above = filepath.Dir(above)
		if info, err := os.Stat(above); err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			d.problem(fmt.Sprintf("everybody can change %s, which %s is in", above, folder), "They can put another folder in its place.", "chmod o-w "+shellQuote(above))
		}
	}
}

func userName(id uint32) string {
	if u, err := user.LookupId(fmt.Sprint(id)); err == nil {
		return u.Username
	}
	return fmt.Sprint("#", id)
}

// checkPrivate looks whether others can read or change files that match the pattern.
func (d *doctor) checkPrivate(pattern, why string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		files = []string{pattern} // a name that is no pattern
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 {
			continue
		}
		can := "read"
		if info.Mode().Perm()&0o022 != 0 {
			can = "change"
		}
		d.problem(fmt.Sprintf("others can %s %s (mode %04o)", can, file, info.Mode().Perm()), why, "chmod 600 "+shellQuote(file))
	}
}

// checkChangeable looks whether others can change a file, which they may read.
func (d *doctor) checkChangeable(file, why string) {
	for _, path := range []string{file, filepath.Dir(file)} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o022 == 0 || info.Mode()&fs.ModeSticky != 0 {
			continue
		}
		d.problem(fmt.Sprintf("others can change %s (mode %04o)", path, info.Mode().Perm()), why, "chmod go-w "+shellQuote(path))
	}
}
