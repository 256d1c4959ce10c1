package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

func newExplain(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain REQUEST-ID",
		Short: "Tell the whole story of one call",
		Long: `Tell the whole story of one call, from its entries in the audit log: who called,
which scope allowed it, what was found where, what was done, and why. The id is
in the answer's header Keeper-Request-Id and in each of its entries.`,
		Example: "  keeper explain req_5f0c…\n  keeper explain req_5f0c… --json",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer told
			if _, err := c.call(cmd.Context(), http.MethodGet, "/audit/calls/"+url.PathEscape(args[0]), nil, &answer); err != nil {
				return missing(err, "the audit log has no call %q; its id is in the answer's header Keeper-Request-Id and in `keeper audit ls --json`", args[0])
			}
			shown := explained{RequestID: args[0], Entries: answer.Entries}
			for _, s := range answer.Story {
				shown.Story = append(shown.Story, s.Text)
			}
			return a.show(shown, func() error { return a.tell(answer.Story) })
		},
	}
}

// told is the story of a call as keeper tells it.
type told struct {
	Story   []sentence   `json:"story"`
	Entries []auditEntry `json:"entries"`
}

type sentence struct {
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// explained is the story of a call as scripts read it.
type explained struct {
	RequestID string       `json:"requestId"`
	Story     []string     `json:"story"`
	Entries   []auditEntry `json:"entries"`
}

// tell prints sentences, with the time where that is another than the last one's.
func (a *app) tell(story []sentence) error {
	last := ""
	for _, s := range story {
		text, now := s.Text, when(s.At)
		if now != last {
			text = now + ": " + text
		}
		last = now
		if _, err := fmt.Fprintln(a.out, printable(text)); err != nil {
			return err
		}
	}
	return nil
}
