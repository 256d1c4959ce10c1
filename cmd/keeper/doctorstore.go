package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/superinstance/keeper/internal/store"
)

const (
	diskLow  = 1 << 30
	diskFull = 64 << 20
)

// schemaMends are what to do about a database that cannot be opened, by why not.
var schemaMends = []struct {
	err       error
	grave     bool
	why, mend string
}{
	{store.ErrNewerSchema, true, "This keeper is older than the one that wrote it, and refuses to start.", "go install github.com/superinstance/keeper/cmd/keeper@latest"},
	{store.ErrOlderSchema, false, "The next start brings it up to date; there is no way back but a copy.", "cp -a DATA DATA.before-upgrade"},
	{store.ErrForeignSchema, true, "Somebody changed the database behind keeper's back, which refuses to start.", "KEEPER audit verify --folder DATA"},
	{store.ErrDamaged, true, "Keeper refuses calls that it cannot record.", "sqlite3 DATA/keeper.db .recover   # or put the folder back from a backup"},
}

// databaseMends are schemaMends for a database that is not in the data folder.
var databaseMends = []struct {
	err       error
	grave     bool
	why, mend string
}{
	{store.ErrNewerSchema, true, "This keeper is older than the one that changed it, and refuses to start.", "go install github.com/superinstance/keeper/cmd/keeper@latest"},
	{store.ErrOlderSchema, false, "The next start brings it up to date; there is no way back but a backup.", "pg_dump -Fc -n keeper -d DATABASE > before-upgrade.dump"},
	{store.ErrForeignSchema, true, "Somebody changed keeper's tables behind its back, and it refuses to start.", "KEEPER audit verify --store DATABASE"},
	{store.ErrDamaged, true, "Keeper refuses calls that it cannot record.", "pg_amcheck -s keeper -d DATABASE   # and restore it from a backup"},
	{store.ErrUnreachable, true, "Keeper refuses every call that it cannot record.", "pg_isready -d DATABASE"},
}

// checkStore looks at the database and at the disk that it is on.
func (d *doctor) checkStore(ctx context.Context) {
	if !d.hasData() {
		return
	}
	d.checkDisk()
	if d.config.Store != "" {
		d.checkDatabase(ctx)
		return
	}
	db, err := d.place().OpenToRead(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		d.note("%s holds no database yet", d.data)
		return
	}
	if err != nil {
		d.unopened(err)
		return
	}
	defer db.Close()
	schema, err := d.place().Schema(ctx)
	if err != nil {
		d.unopened(err)
		return
	}
	pages, ok := db.(interface{ CheckPages(context.Context) error })
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pagesPatience)
	defer cancel()
	switch err := pages.CheckPages(ctx); {
	case errors.Is(err, context.DeadlineExceeded):
		d.note("the database opens, but is too large to be looked through here; keeper audit verify --folder %s does", shellQuote(d.data))
	case err != nil:
		d.unopened(err)
	default:
		d.ok("the database in %s opens, is whole, and has schema %d, the newest that this keeper knows", d.data, schema.Version)
	}
}

func (d *doctor) unopened(err error) {
	what := "the database in " + d.data + " is not as it should be: " + printable(err.Error())
	for _, known := range schemaMends {
		if !errors.Is(err, known.err) {
			continue
		}
		mend := strings.NewReplacer("DATA", shellQuote(d.data), "KEEPER", ownName()).Replace(known.mend)
		if known.grave {
			d.problem(what, known.why, mend)
		} else {
			d.warn(what, known.why, mend)
		}
		return
	}
	d.problem(what, "Keeper cannot use it, and refuses to start or to serve.", "ls -la "+shellQuote(d.data))
}

// checkDatabase looks at a database that is elsewhere.
func (d *doctor) checkDatabase(ctx context.Context) {
	place := d.place()
	if place.Unprotected() {
		d.warn("what goes to the store "+place.String()+" is not protected on its way", "Others on it can read the audit log and change what keeper decides by.",
			"KEEPER_STORE='"+place.String()+"?sslmode=verify-full&sslrootcert=/etc/keeper/database.pem'   # in keeper's environment")
	}
	db, err := place.OpenToRead(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		d.note("the database %s holds no keeper yet", place)
		return
	}
	if err != nil {
		d.unopenedDatabase(err)
		return
	}
	defer db.Close()
	if _, err := db.AuditTotals(ctx); err != nil {
		d.unopenedDatabase(err)
		return
	}
	d.ok("the database %s opens, and has a schema that this keeper works with", place)
}

func (d *doctor) unopenedDatabase(err error) {
	shown := d.place().String()
	what := "the database " + shown + " is not as it should be: " + printable(err.Error())
	for _, known := range databaseMends {
		if !errors.Is(err, known.err) {
			continue
		}
		mend := strings.NewReplacer("DATABASE", shellQuote(shown), "KEEPER", ownName()).Replace(known.mend)
		if known.grave {
			d.problem(what, known.why, mend)
		} else {
			d.warn(what, known.why, mend)
		}
		return
	}
	d.problem(what, "Keeper cannot use it, and refuses to start or to serve.", "psql -d "+shellQuote(shown)+" -c 'SELECT 1'")
}

// checkDisk looks at the file system of the data folder.
func (d *doctor) checkDisk() {
	disk, err := diskOf(d.data)
	if err != nil {
		d.note("the disk of %s cannot be looked at: %v", d.data, causeOf(err))
		return
	}
	if disk.network != "" {
		d.warn("the data folder "+d.data+" is on a file system of the network ("+disk.network+")",
			"Its locks and its syncs may not hold, so that the database can be damaged or two keepers have it.",
			"mv "+shellQuote(d.data)+" /var/lib/keeper && "+ownName()+" serve --data /var/lib/keeper")
	}
	if disk.memory {
		d.warn("the data folder "+d.data+" is in memory alone", "Every secret and the audit log are gone when the machine restarts.",
			"cp -a "+shellQuote(d.data)+" ~/.local/state/keeper && "+ownName()+" serve")
	}
	const why = "When the disk is full nothing can be recorded, so that every call is refused."
	mend := "df -h " + shellQuote(d.data) + " && du -xh -d1 " + shellQuote(d.data)
	switch {
	case disk.freeBytes < diskFull || disk.freeFiles == 0:
		d.problem("the disk of "+d.data+" is full: "+byteCount(int64(disk.freeBytes))+" are free", why, mend)
	case disk.freeBytes < diskLow:
		d.warn("the disk of "+d.data+" is nearly full: "+byteCount(int64(disk.freeBytes))+" are free", why, mend)
	}
}
