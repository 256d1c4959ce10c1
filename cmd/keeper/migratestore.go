package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/server"
)

func newMigrateStore(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate-store FOLDER [ADDRESS]",
		Short: "Move the store in a data folder to an empty PostgreSQL database",
		Long: `Move the store in a data folder, whose keeper is stopped, to an empty PostgreSQL
database: the one at ADDRESS, postgres://user@host/name, or that of KEEPER_STORE,
which does not show in the list of processes.

Agents, tokens, sealed secrets, keys, exceptions and the whole audit log go in one
transaction. It is committed when all of it was read again, is the same row for
row, and passes the log's own verification with the same signed head; broken off
before, nothing is there. Then keeper.db is called keeper.db.moved, so that no keeper
starts on it by mistake. The vault's key, the certificate authority and the archive
stay in the folder, which keeper goes on to need: keeper serve --data FOLDER --store.`,
		Example: "  keeper migrate-store /var/lib/keeper postgres://keeper@db.internal/keeper\n  KEEPER_STORE=postgres://keeper@db.internal/keeper keeper migrate-store ~/.local/state/keeper",
		Args:    arguments(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			address := a.env["KEEPER_STORE"]
			if len(args) > 1 {
				address = args[1]
			}
			return a.migrateStore(cmd.Context(), args[0], address)
		},
	}
}

// movedInfo is what scripts read.
type movedInfo struct {
	Folder  string `json:"folder"`
	Store   string `json:"store"`
	First   int64  `json:"first"` // audit entries
	Last    int64  `json:"last"`
	Root    string `json:"root"`
	Agents  int    `json:"agents"`
	Tokens  int    `json:"tokens"`
	Secrets int    `json:"secrets"` // versions of them
	Kept    string `json:"kept"`
}

func (a *app) migrateStore(ctx context.Context, folder, address string) error {
	if address == "" {
		return usagef("no database is named; give its address, or set KEEPER_STORE")
	}
	if err := server.CheckStore(address); err != nil {
		return usagef("%v", err)
	}
	ctx, stop := until(ctx)
	defer stop()
	m := server.Move{Folder: folder, Store: address}
	if isTerminal(a.err) && a.env["TERM"] != "dumb" {
		m.Progress = func(doing string, entries, of int64) {
			fmt.Fprintf(a.err, eraseLine+"%s: %d of %d entries", doing, entries, of)
		}
		defer fmt.Fprint(a.err, eraseLine)
	}
	moved, err := server.MoveStore(ctx, m)
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case errors.Is(err, fs.ErrNotExist):
		return &failure{code: exitNotFound, message: fmt.Sprintf("%s holds no keeper; name the folder that keeper's --data names", folder)}
	case err != nil:
		return err
	}
	if m.Progress != nil {
		fmt.Fprint(a.err, eraseLine)
	}
	shown := server.Place{Store: address}.String()
	info := movedInfo{folder, shown, moved.First, moved.Last, moved.Root, moved.Agents, moved.Tokens, moved.Secrets, moved.Kept}
	return a.show(info, func() error {
		if moved.Again {
			fmt.Fprintf(a.out, "%s held all of it already.\n", printable(shown))
		}
		fmt.Fprintf(a.out, "%s entries %d to %d, %s, %s and %s are in %s, and verified there.\n", a.paint(green, "OK:"), moved.First, moved.Last,
			plural(moved.Agents, "agent"), plural(moved.Tokens, "token"), plural(moved.Secrets, "secret version"), printable(shown))
		fmt.Fprintf(a.out, "Log root %s\nThe old database is %s; delete it once keeper serves from the new one.\n", moved.Root, printable(moved.Kept))
		_, err := fmt.Fprintf(a.out, "Start keeper with --data %s --store %s\n", printable(shellQuote(folder)), printable(shellQuote(shown)))
		return err
	})
}
