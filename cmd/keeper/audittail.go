package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/clipperhouse/displaywidth"
	"github.com/spf13/cobra"
)

const (
	tailAgain     = 2 * time.Second // after which a tail whose keeper went away asks again
	maxEventBytes = 8 << 20
)

func newAuditTail(a *app) *cobra.Command {
	f := auditFlags{limit: 10}
	follow := false
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the newest entries, and with -f each new one as it is written",
		Long: `Show the newest entries that match and, with -f, each new one as soon as it is on
disk. When keeper goes away it is waited for, and no entry is missed or shown
twice. With --json, each entry is a line of JSON.`,
		Example: "  keeper audit tail -f\n  keeper audit tail -f --min-risk 1 --agent ci-bot\n  keeper audit tail -f --json | jq .event",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := until(cmd.Context())
			defer stop()
			return a.tail(ctx, f, follow)
		},
	}
	f.selecting(cmd)
	cmd.Flags().IntVarP(&f.limit, "lines", "n", 10, "how many of the newest entries to begin with, at most 1000; 0: none")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with each new entry")
	return cmd
}

// tailing is a tail on its way.
type tailing struct {
	*app
	client *client
	query  string
	last   string // the entry up to which all was shown
}

func (a *app) tail(ctx context.Context, f auditFlags, follow bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	query, err := f.query(time.Now())
	if err != nil {
		return err
	}
	t := &tailing{app: a, client: c}
	// The newest entry of all says from where on entries are new.
	var newest auditAnswer
	if _, err := c.call(ctx, http.MethodGet, "/audit?limit=1", nil, &newest); err != nil {
		return err
	}
	t.last = "0"
	if len(newest.Entries) > 0 {
		t.last = newest.Entries[0].ID
	}
	if f.limit > 0 {
		if err := t.begin(ctx, query.Encode()); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	query.Del("limit")
	t.query = query.Encode()
	return t.follow(ctx)
}

// begin shows the newest entries that match.
func (t *tailing) begin(ctx context.Context, query string) error {
	found, err := t.client.entries(ctx, query)
	if err != nil {
		return err
	}
	last, err := strconv.ParseInt(t.last, 10, 64)
	if err != nil {
		return t.client.noKeeper(&http.Response{Status: "with ids that are no numbers"})
	}
	for _, e := range found.Entries {
		if id, err := strconv.ParseInt(e.ID, 10, 64); err == nil && id > last {
			t.last = e.ID // it was written meanwhile
		}
		if err := t.line(e); err != nil {
			return err
		}
	}
	return nil
}

// follow shows what comes, until ctx ends.
func (t *tailing) follow(ctx context.Context) error {
	for said := false; ; {
		err := t.stream(ctx)
		var refused *failure
		switch {
		case ctx.Err() != nil:
			return nil // the user has seen enough
		case errors.As(err, &refused) && refused.code != exitUnavailable:
			return err
		case !said:
			fmt.Fprintln(t.err, "keeper went away; waiting for it")
		}
		said = true
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tailAgain):
		}
	}
}

func (t *tailing) stream(ctx context.Context) error {
	resp, err := t.client.open(ctx, "/audit/tail?"+t.query, http.Header{"Last-Event-Id": {t.last}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEventBytes)
	event := ""
	for lines.Scan() {
		switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
		case "event":
			event = value
		case "data":
			known, err := t.take(event, []byte(value))
			if err != nil {
				return err
			}
			if !known {
				return t.client.noKeeper(resp)
			}
		}
	}
	return lines.Err()
}

// take shows what an event says; known is whether it is one of keeper's.
func (t *tailing) take(event string, data []byte) (known bool, err error) {
	switch event {
	case "entry":
		var e auditEntry
		if json.Unmarshal(data, &e) != nil {
			return false, nil
		}
		t.last = e.ID
		return true, t.line(e)
	case "pruned":
		var left struct{ First, Last int64 }
		if json.Unmarshal(data, &left) != nil {
			return false, nil
		}
		t.last = strconv.FormatInt(left.Last, 10)
		fmt.Fprintf(t.err, "entries %d to %d left the log: they are in its archive\n", left.First, left.Last)
	}
	return true, nil
}

// line prints an entry on a line.
func (t *tailing) line(e auditEntry) error {
	if t.asJSON {
		b, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("encoding an entry: %w", err)
		}
		_, err = fmt.Fprintln(t.out, escapeJSON(string(b)))
		return err
	}
	text := fmt.Sprintf("%s  %d  %-16s  %-16s  %-10s  %s", when(e.Timestamp), e.Risk, printable(e.Event),
		firstOf(printable(e.AgentID), "-"), firstOf(printable(e.Provider), "-"), printable(e.details(t.wide)))
	if room := t.columns(); room > 0 && isTerminal(t.out) && !t.wide {
		text = displaywidth.TruncateString(text, room, "…")
	}
	if colour := riskColours[strconv.Itoa(e.Risk)]; colour != "" {
		text = t.paint(colour, text)
	}
	_, err := fmt.Fprintln(t.out, text)
	return err
}
