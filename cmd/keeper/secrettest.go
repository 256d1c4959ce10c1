package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// tested is what keeper says of a credential that it tested.
type tested struct {
	OK         bool   `json:"ok"`
	Status     int    `json:"status"`
	Code       string `json:"code"`
	Message    string `json:"message"`
	RequestID  string `json:"requestId"`
	DurationMS int64  `json:"durationMs"`
}

// testExits are the exit codes of what a test showed; every other is exitError.
var testExits = map[string]int{
	"credential_refused": exitRefused,
	"no_credential":      exitNotFound, "provider_unknown": exitNotFound,
	"upstream_unreachable": exitUnavailable, "upstream_timeout": exitUnavailable, "upstream_invalid": exitUnavailable,
	"keeper_stopping": exitUnavailable, "audit_unavailable": exitUnavailable, "store_unavailable": exitUnavailable,
}

func newSecretTest(a *app) *cobra.Command {
	var label string
	cmd := &cobra.Command{
		Use:   "test PROVIDER[@LABEL]",
		Short: "Find out whether the provider takes a key",
		Long: `Find out whether the provider takes a key, by one call that is free and changes
nothing. Keeper makes it as it makes every call: it is in the audit log, and of its
answer nothing but the status is told. Exit codes: 0 the key is taken, 5 it is not,
3 there is none, 6 the provider or keeper cannot be reached, 1 the answer proves
nothing, or keeper knows no harmless call of the provider.`,
		Example: "  keeper secret test openai\n  keeper secret test github@bot\n  keeper secret test github --label bot --json",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			provider, named, err := secretName(args[0])
			switch {
			case err != nil:
				return err
			case named != "" && label != "" && named != label:
				return usagef("%s and --label %s name two labels; give one", args[0], label)
			}
			return a.testSecret(cmd, provider, cmp.Or(named, label))
		},
	}
	cmd.Flags().StringVar(&label, "label", "", "`LABEL` of the key; without it, the one that a call would use")
	return cmd
}

func (a *app) testSecret(cmd *cobra.Command, provider, label string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	in := map[string]any{}
	name := provider
	if label != "" {
		in["label"], name = label, provider+"@"+label
	}
	var told tested
	raw, err := c.call(cmd.Context(), http.MethodPost, "/providers/"+url.PathEscape(provider)+"/test", in, &told)
	if err != nil {
		return missing(err, "there is no provider %s; `keeper providers ls` lists them", provider)
	}
	if a.asJSON {
		if err := printJSON(a.out, raw); err != nil {
			return err
		}
	}
	if !told.OK {
		code := cmp.Or(testExits[told.Code], exitError)
		if a.asJSON {
			return silent(code)
		}
		return &failure{code: code, message: fmt.Sprintf("%s: %s (%s); `keeper explain %s` tells the call", name, strings.TrimPrefix(told.Message, "keeper: "), told.Code, told.RequestID)}
	}
	if a.asJSON {
		return nil
	}
	return a.say(nil, "%s: %s (it answered %d in %d ms)", name, told.Message, told.Status, told.DurationMS)
}
