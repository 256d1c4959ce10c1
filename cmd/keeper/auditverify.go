package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store"
)

// proofSuffix is what the file beside an export is called more.
const proofSuffix = ".proof"

const startingTime = 2 * time.Second // in which a keeper that starts has signed that

type verifyFlags struct {
	folder, export, proof, key string
	store                      string
	witnesses                  []string
}

func newAuditVerify(a *app) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that nothing in the log was changed, or name what was",
		Long: `Prove that nothing in the log was edited, deleted, inserted, reordered, cut off
or put back, or name the first bad entry and what was done to it. Verified is
the log of the keeper that runs at --url, that in a data folder or a PostgreSQL
database, of a keeper that runs or not, or an export with its proof file. In a
folder or a database the rows of the store and the index by which entries are
searched are held against the log, too. Of keepers that share a log, no entry of
any may be missing.

Who owns the machine could write another log and sign it. Give --key as it was
noted when keeper was set up, and as --witness the checkpoints that were kept
elsewhere: then that shows, too.`,
		Example: "  keeper audit verify\n  keeper audit verify --folder ~/.local/share/keeper\n  keeper audit verify --store postgres://keeper@db/keeper\n" +
			"  keeper audit verify --export audit.ndjson --key audit.pub --witness checkpoints.txt",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verify(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.folder, "folder", "", "verify the log in this data `FOLDER`")
	flags.StringVar(&f.store, "store", "", "verify the log in the PostgreSQL database at this `ADDRESS`")
	flags.StringVar(&f.export, "export", "", "verify this NDJSON `FILE`, which keeper audit export wrote")
	flags.StringVar(&f.proof, "proof", "", "the export's proof `FILE`; else its name with "+proofSuffix+" behind it")
	flags.StringVar(&f.key, "key", "", "the log's public `KEY` or a file that holds it; else the one that lies with the log is believed")
	flags.StringArrayVar(&f.witnesses, "witness", nil, "a `FILE` of checkpoints that were kept elsewhere; may be given again")
	return cmd
}

func (a *app) verify(ctx context.Context, f verifyFlags) error {
	switch {
	case f.folder != "" && f.export != "":
		return usagef("--folder and --export exclude each other; leave one out")
	case f.store != "" && f.folder+f.export != "":
		return usagef("--store excludes --folder and --export; leave all but one out")
	}
	if err := server.CheckStore(f.store); err != nil {
		return err
	}
	key, err := readAuditKey(f.key)
	if err == nil && key != "" {
		_, err = audit.NewVerifier(key)
	}
	if err != nil {
		return err
	}
	known, err := readWitnesses(f.witnesses)
	if err != nil {
		return err
	}
	look := a.verifyKeeper
	switch {
	case f.folder != "", f.store != "":
		look = a.verifyPlace
	case f.export != "":
		look = a.verifyExport
	}
	return look(ctx, f, key, known)
}

// readAuditKey is the key that text is or that is in the file of that name; "" where
// text is empty.
func readAuditKey(text string) (string, error) {
	if text == "" || strings.Contains(text, "+") {
		return text, nil
	}
	b, err := os.ReadFile(text)
	if err != nil {
		return "", fmt.Errorf("reading the public key: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// readWitnesses reads checkpoints, which files hold one after the other.
func readWitnesses(files []string) (all [][]byte, err error) {
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the witness's checkpoints: %w", err)
		}
		found := audit.SplitCheckpoints(b)
		if len(found) == 0 {
			return nil, fmt.Errorf("reading the witness's checkpoints: %s holds none", file)
		}
		all = append(all, found...)
	}
	return all, nil
}

// verifyPlace verifies the log where it is kept, without asking a keeper.
func (a *app) verifyPlace(ctx context.Context, f verifyFlags, key string, known [][]byte) error {
	place := server.Place{Folder: f.folder, Store: f.store}
	db, err := place.OpenToRead(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.store != "":
		return fmt.Errorf("%s holds no keeper", place)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s holds no keeper; name the folder that keeper's --data names", f.folder)
	case errors.Is(err, store.ErrOlderSchema):
		return fmt.Errorf("%w; start this keeper on it once", err)
	case err != nil:
		return err
	}
	defer db.Close()
	verifier, believed, err := folderKey(ctx, db, key)
	if err != nil {
		return err
	}
	e, err := audit.EvidenceOf(ctx, db, verifier)
	if err != nil {
		return err
	}
	if e.Known = known; starting(ctx, e) {
		// It writes and signs its first entries right now.
		time.Sleep(startingTime)
		if e, err = audit.EvidenceOf(ctx, db, verifier); err != nil {
			return err
		}
		e.Known = known
	}
	live, err := place.Held(ctx)
	if err != nil {
		return err
	}
	return a.verdict(ctx, e, believed, place.String(), &besideLog{db, place, live})
}

// starting says whether entries behind a stop are not signed, as for a moment while a
// keeper starts.
func starting(ctx context.Context, e audit.Evidence) bool {
	report, err := audit.Verify(ctx, e)
	return err == nil && report.Damage != nil && report.Damage.Harm == audit.Inserted && report.Damage.Entry == report.Head.Size+1
}

// folderKey is the key that was given, or else the one that the store names: then it
// is only believed.
func folderKey(ctx context.Context, db server.Database, given string) (v note.Verifier, believed bool, err error) {
	if given != "" {
		v, err = audit.NewVerifier(given)
		return v, false, err
	}
	head, err := db.LastCheckpoint(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, false, err
	}
	keys, err := db.Keys(ctx)
	if err != nil {
		return nil, false, err
	}
	text, err := audit.SignerOf(keys, head.Note)
	if err != nil {
		text, err = audit.SignerOf(keys, nil) // by which it is to be forged
	}
	if err != nil {
		return nil, false, errors.New("the folder names no key of the log; give it with --key")
	}
	v, err = audit.NewVerifier(text)
	return v, true, err
}

func (a *app) verifyExport(ctx context.Context, f verifyFlags, key string, known [][]byte) error {
	proof, err := os.Open(firstOf(f.proof, f.export+proofSuffix))
	if err != nil {
		return fmt.Errorf("opening the export's proof: %w; keeper audit export -o writes it beside the export", err)
	}
	defer proof.Close()
	e, named, err := audit.ReadProof(proof)
	if err != nil {
		return err
	}
	if err := e.TakeKey(key, named); err != nil {
		return a.ofAnotherKey(e, err)
	}
	lines, err := os.Open(f.export)
	if err != nil {
		return fmt.Errorf("opening the export: %w", err)
	}
	defer lines.Close()
	e.Entries, e.Known = audit.LeavesOf(lines), known
	return a.verdict(ctx, e, key == "", f.export, nil)
}

// verifyKeeper verifies the log of a keeper that runs, as an export that is kept
// nowhere.
func (a *app) verifyKeeper(ctx context.Context, _ verifyFlags, key string, known [][]byte) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	proof, err := c.open(ctx, "/audit/export/proof", nil)
	if err != nil {
		return err
	}
	defer proof.Body.Close()
	e, named, err := audit.ReadProof(proof.Body)
	if err != nil {
		return err
	}
	if err := e.TakeKey(key, named); err != nil {
		return a.ofAnotherKey(e, err)
	}
	lines, err := c.open(ctx, "/audit/export?"+withRange(url.Values{}, e.First, e.Last).Encode(), nil)
	if err != nil {
		return err
	}
	defer lines.Body.Close()
	e.Entries, e.Known = audit.LeavesOf(lines.Body), known
	e.Whole = true // and read after the witness's checkpoints
	return a.verdict(ctx, e, key == "", c.base.String(), nil)
}

// verified is a verdict as scripts read it.
type verified struct {
	OK          bool          `json:"ok"`
	First       int64         `json:"first"`
	Last        int64         `json:"last"`
	Checkpoints int           `json:"checkpoints"`
	NotHeld     int           `json:"notHeld"`           // checkpoints of a witness that say nothing of these entries
	Members     int           `json:"members,omitempty"` // keepers of a fleet whose entries these are
	Signed      int64         `json:"signed"`            // entries up to this one are signed
	Origin      string        `json:"origin,omitempty"`
	Root        string        `json:"root,omitempty"`
	Keys        []verifiedKey `json:"keys,omitempty"` // that signed the log, one after the other
	Damage      *verifiedBad  `json:"damage,omitempty"`
	Store       string        `json:"store,omitempty"` // how the rows differ from what the log says of them
	Index       string        `json:"index,omitempty"` // how the search index differs from the entries, and how to mend it
}

type verifiedKey struct {
	PublicKey string `json:"publicKey"`
	From      int64  `json:"from,omitempty"` // the entry with which it took over; of the first there is none
	By        bool   `json:"by,omitempty"`   // it is the one that was given or believed
}

type verifiedBad struct {
	Harm  audit.Harm `json:"harm"`
	Entry int64      `json:"entry,omitempty"`
	Until int64      `json:"until,omitempty"`
	Text  string     `json:"text"`
}

// verdict verifies and says what was found. Where the log is sound, what is in its folder
// beside it, unless that is nil, is held against it.
func (a *app) verdict(ctx context.Context, e audit.Evidence, believed bool, what string, beside *besideLog) error {
	if isTerminal(a.err) && a.env["TERM"] != "dumb" {
		e.Progress = func(entries int64) { fmt.Fprintf(a.err, eraseLine+"%d entries", entries) }
		defer fmt.Fprint(a.err, eraseLine)
	}
	report, err := audit.Verify(ctx, e)
	if err != nil {
		return fmt.Errorf("verifying %s: %w", what, err)
	}
	v := verifiedBy(report, keyText(e.Key))
	if v.OK && beside != nil {
		err := beside.checkStore(ctx, report.Head.State, &v)
		if err == nil {
			err = beside.checkIndex(ctx, e.Progress, &v)
		}
		if err != nil {
			return err
		}
	}
	return a.conclude(v, believed)
}

// besideLog is what a folder holds beside the log.
type besideLog struct {
	db    server.Database
	place server.Place
	live  bool // a keeper runs on it
}

// checkStore holds the rows against what was signed of them.
func (b *besideLog) checkStore(ctx context.Context, signed audit.State, v *verified) error {
	if signed.Digest == "" {
		return nil
	}
	err := anchor.Verify(ctx, b.db, b.db, signed, b.live)
	if errors.Is(err, audit.ErrTampered) {
		v.OK, v.Store = false, err.Error()
		return nil
	}
	return err
}

// checkIndex holds the search index against the entries.
func (b *besideLog) checkIndex(ctx context.Context, progress func(entries int64), v *verified) error {
	err := b.db.CheckIndex(ctx, progress)
	if errors.Is(err, store.ErrDamaged) {
		v.OK = false
		tool := "sqlite3 " + shellQuote(filepath.Join(b.place.Folder, "keeper.db")) + " 'DELETE FROM audit_blocks; DELETE FROM audit_filters; DELETE FROM audit_groups; DELETE FROM audit_slices'"
		if b.place.Store != "" {
			tool = "psql -d " + shellQuote(b.place.String()) + " -c 'TRUNCATE keeper.audit_blocks, keeper.audit_filters, keeper.audit_groups, keeper.audit_slices'"
		}
		v.Index = fmt.Sprintf("%v; with keeper stopped, %s makes keeper build it anew", err, tool)
		return nil
	}
	return err
}

// keyText is a key as signed notes write it.
func keyText(key note.Verifier) string {
	if v, ok := key.(audit.Verifier); ok {
		return v.String()
	}
	return ""
}

// verifiedBy is what was found by the key that was given or believed.
func verifiedBy(report audit.Report, by string) verified {
	v := verified{OK: report.Damage == nil, First: report.First, Last: report.Last, Checkpoints: report.Checkpoints, NotHeld: report.NotHeld, Members: report.Members, Signed: report.Head.Size}
	if report.Head.Size > 0 {
		v.Origin, v.Root = report.Head.Origin, report.Head.Root.String()
	}
	for _, k := range report.Keys {
		v.Keys = append(v.Keys, verifiedKey{k.PublicKey, k.From, k.PublicKey == by})
	}
	if d := report.Damage; d != nil {
		v.Damage = &verifiedBad{d.Harm, d.Entry, d.Until, d.Text}
	}
	return v
}

// ofAnotherKey is the verdict on a proof that names another key than the expected one.
func (a *app) ofAnotherKey(e audit.Evidence, err error) error {
	if !errors.Is(err, audit.ErrTampered) {
		return err
	}
	return a.conclude(verifiedBy(audit.Report{First: e.First, Last: e.First - 1, Damage: &audit.Damage{Harm: audit.Forged, Text: err.Error()}}, ""), false)
}

// conclude prints the verdict; damage gives the exit code 5.
func (a *app) conclude(v verified, believed bool) error {
	if err := a.show(v, func() error { return a.verdictForEyes(v, believed) }); err != nil {
		return err
	}
	if !v.OK {
		return silent(exitRefused)
	}
	return nil
}

func (a *app) verdictForEyes(v verified, believed bool) error {
	if d := v.Damage; d != nil {
		where := fmt.Sprintf("entry %d", d.Entry)
		if d.Until > d.Entry {
			where = fmt.Sprintf("one or more of the entries %d to %d", d.Entry, d.Until)
		}
		if d.Entry == 0 {
			where = "a checkpoint"
		}
		fmt.Fprintf(a.out, "%s %s: %s.\n", a.paint(red, strings.ToUpper(string(d.Harm))+":"), where, printable(d.Text))
		_, err := fmt.Fprintf(a.out, "Up to there %d entries are as they were written; %d of them are signed.\n", max(0, v.Last-v.First+1), max(0, min(v.Signed, v.Last)-v.First+1))
		return err
	}
	fmt.Fprintf(a.out, "%s entries %d to %d are as they were written, by %d checkpoints.\n", a.paint(green, "OK:"), v.First, v.Last, v.Checkpoints)
	if v.Store != "" {
		fmt.Fprintf(a.out, "%s the store is not what the log says of it: %s.\n", a.paint(red, "STORE:"), printable(v.Store))
	}
	if v.Index != "" {
		fmt.Fprintf(a.out, "%s %s.\n", a.paint(red, "INDEX:"), printable(v.Index))
	}
	if v.Signed < v.Last {
		fmt.Fprintf(a.out, "Entries %d to %d are not signed yet.\n", v.Signed+1, v.Last)
	}
	if v.NotHeld > 0 {
		fmt.Fprintf(a.out, "%d of the witness's checkpoints could not be held against these entries, since they do not lead through their sizes.\n", v.NotHeld)
	}
	if v.Members > 1 {
		fmt.Fprintf(a.out, "Entries of %d keepers, each without a gap.\n", v.Members)
	}
	fmt.Fprintf(a.out, "Log %s, size %d, root %s\n", v.Origin, v.Signed, v.Root)
	a.keysForEyes(v)
	if believed {
		fmt.Fprintln(a.out, "The key is the one that lies with the log: --key proves that it is keeper's.")
	}
	return nil
}

// keysForEyes says how the log's key changed.
func (a *app) keysForEyes(v verified) {
	if len(v.Keys) < 2 {
		return
	}
	var with []string
	for _, k := range v.Keys[1:] {
		with = append(with, fmt.Sprintf("entry %d", k.From))
	}
	newest := v.Keys[len(v.Keys)-1]
	fmt.Fprintf(a.out, "Its key changed with %s; now it is %s\n", strings.Join(with, ", "), newest.PublicKey)
	if !newest.By {
		fmt.Fprintln(a.out, "Note that one: by the one that was given, a log that a thief of it goes on with looks as sound.")
	}
}

// auditHead is a signed head as keeper's route shows it.
type auditHead struct {
	Checkpoint  string   `json:"checkpoint"`
	PublicKey   string   `json:"publicKey"`
	Successions []string `json:"successions"`
}

// keys are those of the log, where one of them is known; by the newest, which is only
// believed, where that is "".
func (h auditHead) keys(known string) (*audit.Chain, error) {
	v, err := audit.NewVerifier(firstOf(known, h.PublicKey))
	if err != nil {
		return nil, err
	}
	var heads [][]byte
	for _, head := range h.Successions {
		heads = append(heads, []byte(head))
	}
	return audit.NewChain(v, heads)
}

func (a *app) auditHead(ctx context.Context) (h auditHead, raw json.RawMessage, err error) {
	c, err := a.connect()
	if err != nil {
		return h, nil, err
	}
	raw, err = c.call(ctx, http.MethodGet, "/audit/checkpoint", nil, &h)
	return h, raw, err
}

func newAuditCheckpoint(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the signed head of the log, to be kept elsewhere",
		Long: `Print the signed head of the log (a C2SP tlog-checkpoint). Kept elsewhere, it
shows later that the log was not put back or rewritten: keeper audit verify
--witness. Checkpoints may stand in a file one after the other.`,
		Example: "  keeper audit checkpoint >> /mnt/elsewhere/checkpoints.txt",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, raw, err := a.auditHead(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(raw, func() error {
				_, err := fmt.Fprintln(a.out, h.Checkpoint)
				return err
			})
		},
	}
}

func newAuditKey(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Print the public key that proves the log",
		Long: `Print the public key that the checkpoints of the log are signed with. Note it when
keeper is set up: whoever has it needs nothing else of keeper's to verify the log.
After keeper key rotate audit, note the new one as well. With --all, print each key
that the log had, and the entry with which it took over.`,
		Example: "  keeper audit key > audit.pub\n  keeper audit key --all",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, _, err := a.auditHead(cmd.Context())
			if err != nil {
				return err
			}
			if all {
				return a.auditKeys(h)
			}
			return a.say(map[string]string{"publicKey": h.PublicKey}, "%s", h.PublicKey)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show the keys of before, too")
	return cmd
}

func (a *app) auditKeys(h auditHead) error {
	chain, err := h.keys("")
	if err != nil {
		return &failure{code: exitRefused, message: err.Error()}
	}
	var keys []verifiedKey
	var rows [][]any
	for _, k := range chain.Terms() {
		keys = append(keys, verifiedKey{PublicKey: k.PublicKey, From: k.From})
		rows = append(rows, []any{k.From, k.PublicKey})
	}
	return a.show(map[string]any{"keys": keys}, func() error {
		return a.table([]column{{name: "FROM"}, {name: "KEY", whole: true}}, rows)
	})
}

func newAuditProve(a *app) *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "prove ID",
		Short: "Prove that an entry is in the log",
		Long: `Prove that an entry is in the log: print the entry, the hashes that lead from it
to the signed head (RFC 6962), and that head, after checking them. With --json
the proof is for others to check, as docs/audit-format.md says.`,
		Example: "  keeper audit prove 1234 --key audit.pub\n  keeper audit prove 1234 --json > proof.json",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id < 1 {
				return usagef("%q is no entry's id; want a number, as keeper audit ls --json shows it", args[0])
			}
			return a.prove(cmd.Context(), id, key)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the log's public `KEY` or a file that holds it; else the one that keeper names is believed")
	return cmd
}

func (a *app) prove(ctx context.Context, id int64, key string) error {
	key, err := readAuditKey(key)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	var p struct {
		auditHead
		Leaf string   `json:"leaf"`
		Path [][]byte `json:"path"`
	}
	raw, err := c.call(ctx, http.MethodGet, "/audit/proof?id="+strconv.FormatInt(id, 10), nil, &p)
	if err != nil {
		return missing(err, "there is no entry %d", id)
	}
	keys, err := p.keys(key)
	if err != nil {
		return &failure{code: exitRefused, message: err.Error()}
	}
	head, err := audit.CheckProof(keys, id, []byte(p.Leaf), p.Path, []byte(p.Checkpoint))
	if err != nil {
		return &failure{code: exitRefused, message: err.Error()}
	}
	return a.show(raw, func() error {
		fmt.Fprintln(a.out, printable(p.Leaf))
		_, err := fmt.Fprintf(a.out, "%s entry %d is in the log %s of %d entries, by %d hashes.\n", a.paint(green, "OK:"), id, head.Origin, head.Size, len(p.Path))
		return err
	})
}
