package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const linkLasts = "5 minutes"

// signInLink is one by which a browser signs in to the dashboard.
type signInLink struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func newLogin(a *app) *cobra.Command {
	var open bool
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Print a link that signs a browser in to the dashboard",
		Long: `Print a link that signs one browser in to keeper's dashboard, once, within ` + linkLasts + `. In
it the browser may do what the token may that this command shows, and no more; it is
signed out when that token ends. The token needs the scope keeper:read.`,
		Example: "  keeper login\n  keeper login --open\n  KEEPER_TOKEN=$VIEWER keeper login",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.login(cmd.Context(), open) },
	}
	cmd.Flags().BoolVar(&open, "open", false, "open the link in the browser of this desktop instead of printing it")
	return cmd
}

func (a *app) login(ctx context.Context, open bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	link, err := c.link(ctx)
	if err != nil {
		return err
	}
	if open {
		if err := openBrowser(ctx, link.URL); err != nil {
			return &failure{code: exitError, message: fmt.Sprintf("no browser could be opened (%v); run `%s login` without --open and open the link yourself", err, ownName())}
		}
		fmt.Fprintf(a.err, "Opened %s in your browser.\n", strings.SplitN(link.URL, "#", 2)[0])
		return nil
	}
	return a.show(link, func() error {
		fmt.Fprintf(a.err, "Open this in a browser, once, within %s:\n", linkLasts)
		_, err := fmt.Fprintln(a.out, link.URL)
		return err
	})
}

// link asks for a link.
func (c *client) link(ctx context.Context) (signInLink, error) {
	var link signInLink
	if _, err := c.call(ctx, http.MethodPost, "/auth/link", nil, &link); err != nil {
		return link, err
	}
	at, err := url.Parse(link.URL)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return link, &failure{code: exitError, message: "keeper answered with a link that is no address of a dashboard"}
	}
	link.URL = at.String() // in which nothing is left that a terminal could act on
	return link, nil
}

// openBrowser hands the link to the desktop. It is an argument of that command's, and
// so can be seen by this user's own processes while it runs; it works once.
func openBrowser(ctx context.Context, link string) error {
	name, args := "xdg-open", []string{link}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", link}
	}
	return exec.CommandContext(ctx, name, args...).Run()
}
