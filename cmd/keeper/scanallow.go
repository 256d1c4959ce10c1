package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/exception"
)

// maxAllowedBytes is far above any line that a value was found in; keeper has its
// own limit.
const maxAllowedBytes = 512 << 10

// fingerprintText is what a fingerprint looks like.
var fingerprintText = regexp.MustCompile(`^fp_[a-z2-7]{26}$`)

// allowedValue is an exception as keeper's routes show it.
type allowedValue struct {
	Fingerprint string    `json:"fingerprint"`
	Rule        string    `json:"rule"`
	Reason      string    `json:"reason"`
	CreatedBy   string    `json:"createdBy"`
	ExpiresAt   time.Time `json:"expiresAt"`
	State       string    `json:"state"`
}

// allowFlags are what an exception needs beside its value.
type allowFlags struct {
	rule, reason, life, until string
}

func newScanAllow(a *app) *cobra.Command {
	var f allowFlags
	cmd := &cobra.Command{
		Use:   "allow FINGERPRINT|-",
		Short: "Let one value pass, for a time, although it looks like a secret",
		Long: `Let one value pass keeper's scanner, for a time, although it looks like a secret:
a false alarm. The value is named by its fingerprint, as the audit log has it
beside the finding's rule (keeper audit ls --json), or read from standard input,
with the line that it was found in; never from the command line, where others
could read it. Only this value passes, under this rule alone, and each use is in
the audit log. What the vault holds never passes.`,
		Example: `  keeper scan allow fp_… --rule generic-api-key --reason "page token of the search API" --for 90d
  keeper scan allow - --reason "sample of our manual" --until 2027-01-01 < sample.env`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := f.request()
			if err != nil {
				return err
			}
			if err := a.nameAllowed(args[0], in); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Exception allowedValue `json:"exception"`
			}
			raw, err := c.call(cmd.Context(), http.MethodPost, "/scan/exceptions", in, &answer)
			if err != nil {
				return err
			}
			e := answer.Exception
			return a.say(raw, "%s passes under rule %s until %s", e.Fingerprint, e.Rule, when(e.ExpiresAt))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.rule, "rule", "", "`RULE` that found it; with - it may be left out where one thing is found")
	flags.StringVar(&f.reason, "reason", "", "why it may pass, for those who read the list")
	flags.StringVar(&f.life, "for", "", "for how `LONG` it passes, such as 90d, 2w or 12h; at most a year")
	flags.StringVar(&f.until, "until", "", "until which `DAY` it passes, such as 2027-01-01, or a time such as 2027-01-01T12:00:00Z")
	return cmd
}

// request is what is asked of keeper, but for the value.
func (f allowFlags) request() (map[string]any, error) {
	if strings.TrimSpace(f.reason) == "" {
		return nil, usagef("--reason is missing; say why the value may pass")
	}
	if (f.life == "") == (f.until == "") {
		return nil, usagef("give --for, such as 90d, or --until, such as 2027-01-01: a value passes for a time")
	}
	in := map[string]any{"reason": f.reason}
	if f.rule != "" {
		in["rule"] = f.rule
	}
	if f.life != "" {
		life, err := lifetime(f.life)
		if err != nil {
			return nil, err
		}
		in["ttlHours"] = life.Hours()
		return in, nil
	}
	until, err := day(f.until)
	if err != nil {
		return nil, err
	}
	in["expiresAt"] = until
	return in, nil
}

// lifetime reads days and weeks beside what a duration of Go's has.
func lifetime(text string) (time.Duration, error) {
	units := map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	life, err := time.ParseDuration(text)
	if text != "" && units[text[len(text)-1:]] > 0 {
		var n uint64
		n, err = strconv.ParseUint(text[:len(text)-1], 10, 12) // within a duration, and beyond what keeper takes
		life = time.Duration(n) * units[text[len(text)-1:]]
	}
	if err != nil || life <= 0 {
		return 0, usagef("--for: want a number with its unit, such as 90d, 2w or 12h")
	}
	if life > exception.MaxLife {
		return 0, usagef("--for: want at most a year; let the value pass again then, if it is still harmless")
	}
	return life, nil
}

// day reads a date, which stands for its beginning in the user's zone, or a time.
func day(text string) (time.Time, error) {
	if at, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return at, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usagef("--until: want a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z")
	}
	return at, nil
}

// nameAllowed adds to in the value that the argument names. What is no
// fingerprint is never repeated: it may be the value itself.
func (a *app) nameAllowed(argument string, in map[string]any) error {
	if argument != "-" {
		if !fingerprintText.MatchString(argument) {
			return usagef("that is no fingerprint (fp_ and 26 characters); copy one from the audit log, or pipe the value in: `keeper scan allow -`")
		}
		if in["rule"] == nil {
			return usagef("--rule is missing; it stands beside the fingerprint in the audit log")
		}
		in["fingerprint"] = argument
		return nil
	}
	value, err := a.readAllowed()
	if err != nil {
		return fmt.Errorf("reading the value: %w", err)
	}
	if value = bytes.TrimRight(value, "\r\n"); len(value) == 0 {
		return usagef("no value was given; type it at the prompt or pipe it in")
	}
	in["value"] = string(value)
	return nil
}

func (a *app) readAllowed() ([]byte, error) {
	if isTerminal(a.in) {
		return a.ask("value that may pass")
	}
	return readAtMost(a.in, maxAllowedBytes)
}

func newScanAllowed(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "allowed",
		Short: "List the values that pass although they look like secrets",
		Long: `List the values that pass although they look like secrets, by fingerprint, the
next to expire first. Only those in the state active pass; one that is invalid was
changed in the store by others than keeper. Those that are over stay listed until
they are taken off with keeper scan disallow.`,
		Example: "  keeper scan allowed\n  keeper scan allowed --json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Exceptions []allowedValue `json:"exceptions"`
			}
			raw, err := c.call(cmd.Context(), http.MethodGet, "/scan/exceptions", nil, &answer)
			if err != nil {
				return err
			}
			return a.show(raw, func() error {
				rows := make([][]any, len(answer.Exceptions))
				for i, e := range answer.Exceptions {
					rows[i] = []any{e.Fingerprint, e.Rule, e.State, e.ExpiresAt, e.CreatedBy, e.Reason}
				}
				return a.table([]column{
					{name: "FINGERPRINT", whole: true}, {name: "RULE", whole: true}, {name: "STATE", colours: statusColours}, {name: "EXPIRES"}, {name: "BY"}, {name: "REASON"},
				}, rows)
			})
		},
	}
}

func newScanDisallow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "disallow FINGERPRINT",
		Short:   "Let a value pass no longer, from the next call on",
		Example: "  keeper scan disallow fp_…",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !fingerprintText.MatchString(args[0]) {
				return usagef("that is no fingerprint (fp_ and 26 characters); `keeper scan allowed` lists them")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.call(cmd.Context(), http.MethodDelete, "/scan/exceptions/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return missing(err, "no value of that fingerprint is let pass; `keeper scan allowed` lists those that are")
			}
			return a.say(raw, "the value no longer passes")
		},
	}
}
