package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/export"
)

type exportFlags struct {
	auditFlags
	format, out string
	first, last int64
}

func newAuditExport(a *app) *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the log to a file, with what proves it",
		Long: `Write the entries that match, oldest first, to a file or to standard output: as
` + formatNames() + `.

An export in ndjson of all entries, or of those from --first to --last, gets a
second file beside it, FILE` + proofSuffix + `, with which anyone who has the log's public
key can verify it: keeper audit verify --export FILE --key audit.pub`,
		Example: "  keeper audit export -o audit.ndjson\n  keeper audit export --format csv --since 24h > day.csv\n  keeper audit export --format ocsf --min-risk 1 -o findings.ndjson",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := until(cmd.Context())
			defer stop()
			return a.export(ctx, f)
		},
	}
	f.selecting(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.format, "format", string(export.NDJSON), "`FORMAT`: "+formatNames())
	flags.StringVarP(&f.out, "out", "o", "", "`FILE` to write; else standard output")
	flags.Int64Var(&f.first, "first", 0, "begin with the entry of this `ID`")
	flags.Int64Var(&f.last, "last", 0, "end with the entry of this `ID`")
	return cmd
}

func newAuditArchive(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "archive",
		Short: "Move old entries to files now, as the retention says",
		Long: `Move the entries whose time has come, by audit.retention in the configuration, to
files that prove themselves, and delete them from the store. Keeper does so by
itself every ten minutes.`,
		Example: "  keeper audit archive",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct{ Message string }
			raw, err := c.call(cmd.Context(), http.MethodPost, "/audit/archive", nil, &answer)
			if err != nil {
				return err
			}
			return a.say(raw, "%s", answer.Message)
		},
	}
}

func formatNames() string {
	var names []string
	for _, f := range export.Formats() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// provable says whether what is exported can be proven: a run of entries as the log
// has them.
func (f *exportFlags) provable(query url.Values) bool {
	return f.format == string(export.NDJSON) && len(query) == 0
}

func (a *app) export(ctx context.Context, f exportFlags) error {
	if _, err := export.ParseFormat(f.format); err != nil {
		return usagef("--format: %v", err)
	}
	query, err := f.query(time.Now())
	if err != nil {
		return err
	}
	query.Del("limit")
	c, err := a.connect()
	if err != nil {
		return err
	}
	proven := f.out != "" && f.provable(query)
	if proven {
		if f.first, f.last, err = c.proof(ctx, f.out+proofSuffix, f.first, f.last); err != nil {
			return err
		}
	}
	query = withRange(query, f.first, f.last)
	query.Set("format", f.format)
	if f.out == "" {
		return c.copyTo(ctx, a.out, "/audit/export?"+query.Encode())
	}
	if err := c.save(ctx, f.out, "/audit/export?"+query.Encode()); err != nil {
		return err
	}
	if proven {
		fmt.Fprintf(a.err, "%s: entries %d to %d; what proves them is in %s\n", f.out, f.first, f.last, f.out+proofSuffix)
	}
	return nil
}

func withRange(query url.Values, first, last int64) url.Values {
	for name, id := range map[string]int64{"first": first, "last": last} {
		if id > 0 {
			query.Set(name, strconv.FormatInt(id, 10))
		}
	}
	return query
}

// proof saves the proof of a run of entries and returns which it is of.
func (c *client) proof(ctx context.Context, file string, first, last int64) (int64, int64, error) {
	if err := c.save(ctx, file, "/audit/export/proof?"+withRange(url.Values{}, first, last).Encode()); err != nil {
		return 0, 0, err
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the proof: %w", err)
	}
	defer f.Close()
	e, _, err := audit.ReadProof(f)
	return e.First, e.Last, err
}

// save writes an answer to a file, which is there only when all of it is.
func (c *client) save(ctx context.Context, file, path string) error {
	part := file + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	err = errors.Join(c.copyTo(ctx, f, path), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return nil
}

func (c *client) copyTo(ctx context.Context, w io.Writer, path string) error {
	resp, err := c.open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return &failure{code: exitUnavailable, message: fmt.Sprintf("keeper broke off the answer (%v); try again", err)}
	}
	return nil
}

// open is call for an answer that is read as it comes, for as long as it takes.
func (c *client) open(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.String()+"/api/v1"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if header != nil {
		req.Header = header
	}
	return c.stream(req)
}

// stream sends a request whose answer is read as it comes, for as long as it takes.
func (c *client) stream(req *http.Request) (*http.Response, error) {
	if token := c.bearer(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	patient := *c.http
	patient.Timeout = 0
	resp, err := patient.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, c.unreachable(err)
	}
	return nil, c.refusal(resp, text)
}
