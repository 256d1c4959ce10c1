package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/server"
)

func newMigrate(a *app) *cobra.Command {
	return group("migrate", "Look at the schema of keeper's database", "  keeper migrate status", newMigrateStatus(a))
}

func newMigrateStatus(a *app) *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the schema of the database, what is pending, and the copies from before migrations",
		Long: `Show the schema of the database in the data folder, what this keeper would change
at its start, and the copies from before earlier migrations. Migrations go forward
alone. Before one, the database is copied beside itself, mode 0600; the last three
copies are kept. To go back: stop keeper, put the copy in the place of keeper.db,
delete keeper.db-wal and keeper.db-shm, and start the keeper of before. In a
PostgreSQL database nothing is copied: back it up before an upgrade.

A database of a later keeper is refused at the start, and left as it is, unless
it says that it serves this one, too.`,
		Example: "  keeper migrate status\n  keeper migrate status --data /var/lib/keeper --json\n  keeper migrate status --store postgres://keeper@db/keeper",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.migrateStatus(cmd.Context(), address) },
	}
	cmd.Flags().StringVar(&address, "store", "", "`ADDRESS` of the store, where that is a PostgreSQL database (default KEEPER_STORE)")
	return cmd
}

// schemaInfo is what scripts read.
type schemaInfo struct {
	Folder  string          `json:"folder"`
	Schema  int64           `json:"schema"`
	Known   int64           `json:"known"`
	Newer   bool            `json:"newer"` // a later keeper is needed
	Store   string          `json:"store,omitempty"`
	Pending []migrationInfo `json:"pending"`
	Copies  []copyInfo      `json:"copies"`
}

type migrationInfo struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
}

type copyInfo struct {
	Path   string    `json:"path"`
	Schema int64     `json:"schema"`
	At     time.Time `json:"at"`
	Bytes  int64     `json:"bytes"`
}

func (a *app) migrateStatus(ctx context.Context, address string) error {
	dir := a.clientFile("")
	place := server.Place{Folder: dir, Store: firstOf(address, a.env["KEEPER_STORE"])}
	if err := server.CheckStore(place.Store); err != nil {
		return err
	}
	s, err := place.Schema(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return &failure{code: exitNotFound, message: fmt.Sprintf("%s holds no keeper; name its data folder with --data", dir)}
	}
	if err != nil {
		return err
	}
	info := schemaInfo{Folder: dir, Schema: s.Version, Known: s.Known, Newer: s.Version > s.Known && !s.Serves, Pending: []migrationInfo{}, Copies: []copyInfo{}}
	if place.Store != "" {
		info.Folder, info.Store = "", place.String()
	}
	for _, m := range s.Pending {
		info.Pending = append(info.Pending, migrationInfo(m))
	}
	for _, c := range s.Copies {
		info.Copies = append(info.Copies, copyInfo{c.Path, c.Version, c.At, c.Bytes})
	}
	return a.show(info, func() error { return a.migrateForEyes(info) })
}

func (a *app) migrateForEyes(info schemaInfo) error {
	fmt.Fprintf(a.out, "%s: schema %d; this keeper knows up to %d\n", printable(firstOf(info.Store, info.Folder)), info.Schema, info.Known)
	switch {
	case info.Newer:
		fmt.Fprintln(a.out, a.paint(red, "A later keeper wrote it: this one will not start on it."))
	case info.Schema > info.Known:
		fmt.Fprintln(a.out, a.paint(green, "It is ahead by one, and serves this keeper, too."))
	case len(info.Pending) == 0:
		fmt.Fprintln(a.out, a.paint(green, "Nothing is pending."))
	}
	for _, m := range info.Pending {
		fmt.Fprintf(a.out, "pending: %d %s\n", m.Version, printable(m.Name))
	}
	if len(info.Copies) == 0 {
		return nil
	}
	var rows [][]any
	for _, c := range info.Copies {
		rows = append(rows, []any{c.At, strconv.FormatInt(c.Schema, 10), byteCount(c.Bytes), c.Path})
	}
	return a.table([]column{{name: "COPIED"}, {name: "SCHEMA"}, {name: "SIZE"}, {name: "FILE", whole: true}}, rows)
}
