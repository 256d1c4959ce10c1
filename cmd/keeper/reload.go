package main

import (
	"net/http"

	"github.com/spf13/cobra"
)

func newReload(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Have the keeper that runs read its configuration again",
		Long: `Have the keeper that runs read its configuration again, as SIGHUP does. What it says
is in force for new calls at once; calls and streams under way go on as they began.
Where anything in it is wrong, nothing changes. What keeper cannot change while it
runs is named with the reason, and waits for a start: addresses to listen on, whether
TLS is spoken, the data folder, and where the vault's key comes from.`,
		Example: "  keeper reload\n  keeper reload --json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Message string `json:"message"`
			}
			raw, err := c.call(cmd.Context(), http.MethodPost, "/reload", nil, &answer)
			if err != nil {
				return err
			}
			return a.say(raw, "%s", answer.Message)
		},
	}
}
