package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store"
)

const (
	diskLow  = 1 << 30
	diskFull = 64 << 20

	clocksDiffer = 5 * time.Second // of the database's and this machine's
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
	if shared, ok := db.(sharedDatabase); ok {
		d.checkShared(ctx, shared)
	}
}

// sharedDatabase is one that several keepers can share.
type sharedDatabase interface {
	Members(ctx context.Context) ([]store.Member, time.Time, error)
	Pooled(ctx context.Context) (bool, error)
}

// checkShared looks at the keepers on a database.
func (d *doctor) checkShared(ctx context.Context, db sharedDatabase) {
	began := time.Now()
	members, now, err := db.Members(ctx)
	took := time.Since(began)
	if err != nil {
		d.note("who shares the database cannot be read: %v", causeOf(err))
		return
	}
	if ahead := began.Add(took / 2).Sub(now); ahead.Abs() > clocksDiffer+took/2 {
		d.warn("the database's clock and this machine's differ by "+ahead.Abs().Round(time.Second).String(),
			"Keepers go by the database's clock: tokens end and entries are dated by it.", setClock)
	}
	own, err := server.MemberID(d.data)
	if err != nil {
		d.problem("this folder's id among the keepers cannot be read: "+causeOf(err), "Keeper refuses to start.", "ls -la "+shellQuote(d.data))
		return
	}
	var versions []string
	alive, here := 0, false
	for _, m := range members {
		here = here || m.ID == own
		if m.Alive(now) {
			alive++
			versions = append(versions, m.Version)
		}
	}
	d.ok("%s on the database; %s", plural(alive, "keeper")+" "+verb(alive), folderStands(own, here))
	slices.Sort(versions)
	if versions = slices.Compact(versions); len(versions) > 1 {
		d.note("the keepers that live have different versions: %s", strings.Join(versions, ", "))
	}
	if pooled, err := db.Pooled(ctx); err == nil && pooled {
		d.note("behind a pooler: changes are found by polling, every 200 ms; nothing else is lost")
	}
}

func verb(n int) string {
	if n == 1 {
		return "lives"
	}
	return "live"
}

// folderStands says what a data folder with the id is to the database.
func folderStands(id string, known bool) string {
	switch {
	case known:
		return "this folder's, " + id + ", is known to it"
	case id != "":
		return "this folder's, " + id + ", is not known to it yet"
	}
	return "this folder has served none yet"
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
