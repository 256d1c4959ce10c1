package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Share settings among the keepers on a store",
		Long: `Share settings among the keepers on a store. They are YAML as in the configuration
file, over which they are laid at every keeper: the environment and flags go over both.
Keepers that run take them over within a second, for new calls, and those that start
begin with them. What is one machine's own, such as addresses, TLS, the data folder and
the log's format, is not shared.`,
		Example: "  keeper config push shared.yaml\n  keeper config show\n  keeper config rm",
		Args:    cobra.ArbitraryArgs,
		RunE:    helpOrUnknown,
	}
	cmd.AddCommand(newConfigPush(a), newConfigShow(a), newConfigRemove(a))
	return cmd
}

func newConfigPush(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "push FILE",
		Short: "Have all keepers take the settings in a file over",
		Long: `Have all keepers take the settings in a file over, in the place of those that were
shared before. The keeper that answers takes them over first; where it cannot take over
all of them, nothing changes anywhere. Secrets have no place in them. FILE - is standard
input.`,
		Example: "  keeper config push shared.yaml\n  keeper config show | sed s/5m/1m/ | keeper config push -",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.readShared(args[0])
			if err != nil {
				return fmt.Errorf("reading the settings: %w", err)
			}
			return a.changeConfig(cmd, http.MethodPut, map[string]string{"text": string(text)})
		},
	}
}

// readShared reads a file of settings, or standard input.
func (a *app) readShared(file string) ([]byte, error) {
	if file != "-" {
		return readFile(file, maxConfigBytes)
	}
	text, err := io.ReadAll(io.LimitReader(a.in, maxConfigBytes+1))
	if err == nil && len(text) > maxConfigBytes {
		err = fmt.Errorf("standard input is longer than %d bytes", maxConfigBytes)
	}
	return text, err
}

func newConfigShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the settings that keepers share",
		Long:    "Show the settings that keepers share, as they were pushed.",
		Example: "  keeper config show > shared.yaml\n  keeper config show --json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var is struct {
				Text      string    `json:"text"`
				UpdatedAt time.Time `json:"updatedAt"`
			}
			raw, err := c.call(cmd.Context(), http.MethodGet, "/settings", nil, &is)
			if err != nil {
				return missing(err, "no settings are shared; `keeper config push FILE` shares some")
			}
			return a.show(raw, func() error {
				_, err := fmt.Fprint(a.out, printableText(is.Text))
				return err
			})
		},
	}
}

func newConfigRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm",
		Short:   "Share no settings any more",
		Long:    "Share no settings any more: what each keeper's own file says is in force then.",
		Example: "  keeper config rm",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return missing(a.changeConfig(cmd, http.MethodDelete, nil), "no settings are shared")
		},
	}
}

// changeConfig asks for a change of shared settings, and says what came of it.
func (a *app) changeConfig(cmd *cobra.Command, method string, body any) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var answer struct {
		Message string `json:"message"`
	}
	raw, err := c.call(cmd.Context(), method, "/settings", body, &answer)
	if err != nil {
		return err
	}
	return a.say(raw, "%s", answer.Message)
}
