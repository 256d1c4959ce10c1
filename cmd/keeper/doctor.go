package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/server"
)

// How grave a finding of the doctor's is.
const (
	stateOK      = "ok"
	stateNote    = "note"
	stateWarning = "warning"
	stateProblem = "problem"
)

const (
	doctorPatience = 5 * time.Second // for each question to keeper
	pagesPatience  = 20 * time.Second
)

var stateColours = map[string]string{stateOK: green, stateNote: dim, stateWarning: yellow, stateProblem: red}

// diagnosis is one finding of the doctor's: never a secret, nor a part of one.
type diagnosis struct {
	State string `json:"state"`
	Check string `json:"check"`
	What  string `json:"what"`
	Why   string `json:"why,omitempty"`
	Mend  string `json:"mend,omitempty"` // for a shell
}

// examination is all that the doctor found.
type examination struct {
	Problems int         `json:"problems"`
	Warnings int         `json:"warnings"`
	Findings []diagnosis `json:"findings"`
}

// doctor looks at keeper and at what is around it, and changes nothing.
type doctor struct {
	*app
	config    Config
	catalogue *policy.Catalogue
	scanner   *scanner.Scanner
	data      string // the data folder, "" where none is known
	elsewhere bool   // keeper runs on another machine
	named     bool   // by --url or KEEPER_URL

	client  *client
	healthy *keeperHealth // nil where no keeper answers

	configFile string
	storeFlag  string
	check      string // the one that is made
	found      examination
}

// checks are made in this order; a later one may go by what an earlier one learned.
var checks = []struct {
	name string
	make func(*doctor, context.Context)
}{
	{"keeper", (*doctor).checkKeeper},
	{"clock", (*doctor).checkClock},
	{"store", (*doctor).checkStore},
	{"keys", (*doctor).checkKeys},
	{"permissions", (*doctor).checkPermissions},
	{"ports", (*doctor).checkPorts},
	{"limits", (*doctor).checkLimits},
	{"trust", (*doctor).checkTrust},
	{"tools", (*doctor).checkTools},
	{"proxies", (*doctor).checkProxies},
	{"environment", (*doctor).checkEnvironment},
	{"files", (*doctor).checkFiles},
}

func newDoctor(a *app) *cobra.Command {
	var config, store string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with keeper and around it, and say how to mend it",
		Long: `Look for what is wrong with keeper and around it: the clock, the store, keys and
permissions, ports, limits, what tools trust and how they are set up, what leads
around keeper, and real keys in the environment and in well-known files. It works
while keeper runs, while it is stopped, and with --url for one elsewhere.

Each finding has a command that mends it. The doctor itself changes nothing, and
prints no secret. Exit code 1 if there is a problem, 0 with warnings at most.`,
		Example: "  keeper doctor\n  keeper doctor --config /etc/keeper/keeper.yaml --data /var/lib/keeper\n  keeper doctor --json | jq '.findings[] | select(.state == \"problem\")'",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := until(cmd.Context())
			defer stop()
			d, err := a.newDoctor(config, store)
			if err != nil {
				return err
			}
			return d.examine(ctx)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "configuration `FILE` of keeper serve, which names folders, ports and files")
	cmd.Flags().StringVar(&store, "store", "", "`ADDRESS` of the store, where that is a PostgreSQL database (default KEEPER_STORE, or as the configuration says)")
	return cmd
}

func (a *app) newDoctor(config, store string) (*doctor, error) {
	d := &doctor{app: a, configFile: config, storeFlag: store, check: "configuration"}
	if err := d.configure(); err != nil {
		d.problem(err.Error(), "Keeper refuses to start with it; what follows goes by the defaults.", "${EDITOR:-vi} "+shellQuote(firstOf(config, "~/.profile")))
		if err := d.useConfig(Config{}); err != nil {
			return nil, err
		}
	}
	c := d.config
	d.data = a.folderToExamine(c)
	if config != "" {
		a.dataFlag = firstOf(a.dataFlag, c.Data)
	}
	d.named = a.urlFlag != "" || a.env["KEEPER_URL"] != ""
	if !d.named && config != "" && c.Addr != "" {
		a.urlFlag = urlOf(c)
	}
	base, err := a.url()
	if err != nil {
		return nil, err
	}
	d.elsewhere = !netguard.IsLoopbackURL(base) && a.dataFlag == "" && config == ""
	if d.client, err = a.connectTo(base, ""); err != nil {
		d.problem(err.Error(), "Commands that ask keeper fail.", "unset KEEPER_CA   # or name keeper's ca.pem with --ca")
		a.caFlag = ""
		delete(a.env, "KEEPER_CA")
		d.client, err = a.connectTo(base, "")
	}
	return d, err
}

// configure reads the configuration that keeper serve would.
func (d *doctor) configure() error {
	c, err := loadConfig(d.configFile)
	if err != nil {
		return err
	}
	c.overlay(d.env)
	c.Store = firstOf(d.storeFlag, c.Store)
	if err := c.check(); err != nil {
		return err
	}
	return d.useConfig(c)
}

// place is where keeper's rows are.
func (d *doctor) place() server.Place { return server.Place{Folder: d.data, Store: d.config.Store} }

func (d *doctor) useConfig(c Config) (err error) {
	d.config = c
	if d.catalogue, err = server.Catalogue(c.Providers, c.ProviderURLs); err != nil {
		return err
	}
	d.scanner, err = c.newScanner()
	return err
}

// folderToExamine is the data folder that flags, the environment and the configuration
// name, else the one that there is.
func (a *app) folderToExamine(c Config) string {
	if named := firstOf(a.dataFlag, c.Data); named != "" {
		return named
	}
	if info, err := os.Stat(devFolder); err == nil && info.IsDir() {
		return devFolder
	}
	return a.stateFolder()
}

// urlOf is where a keeper of this configuration is reached from its own machine.
func urlOf(c Config) string {
	scheme := "http"
	if c.TLS.OwnCA || c.TLS.CertFile != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(firstOf(c.AdminAddr, c.Addr))
	if err != nil {
		return "" // the check of the ports says so
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// examine makes all checks and tells what they found.
func (d *doctor) examine(ctx context.Context) error {
	for _, c := range checks {
		if ctx.Err() != nil {
			return errInterrupted
		}
		d.check = c.name
		before := len(d.found.Findings)
		c.make(d, ctx)
		if len(d.found.Findings) == before {
			d.ok("nothing is wrong")
		}
	}
	for _, f := range d.found.Findings {
		switch f.State {
		case stateProblem:
			d.found.Problems++
		case stateWarning:
			d.found.Warnings++
		}
	}
	if err := d.show(d.found, d.tell); err != nil {
		return err
	}
	if d.found.Problems > 0 {
		return silent(exitError)
	}
	return nil
}

// tell prints the findings for eyes: all in a table, and below it how to mend.
func (d *doctor) tell() error {
	rows := make([][]any, len(d.found.Findings))
	for i, f := range d.found.Findings {
		rows[i] = []any{f.State, f.Check, f.What}
	}
	if err := d.table([]column{{name: "STATE", whole: true, colours: stateColours}, {name: "CHECK", whole: true}, {name: "FINDING"}}, rows); err != nil {
		return err
	}
	var b strings.Builder
	for _, state := range []string{stateProblem, stateWarning} {
		for _, f := range d.found.Findings {
			if f.State == state {
				fmt.Fprintf(&b, "\n%s %s\n  %s\n", d.paint(stateColours[state], state+":"), printable(f.What), printable(f.Why))
				for line := range strings.Lines(f.Mend) {
					fmt.Fprintf(&b, "    %s\n", printable(strings.TrimSuffix(line, "\n")))
				}
			}
		}
	}
	_, err := fmt.Fprintf(d.out, "%s\n%s, %s\n", b.String(), plural(d.found.Problems, "problem"), plural(d.found.Warnings, "warning"))
	return err
}

func (d *doctor) add(state, what, why, mend string) {
	d.found.Findings = append(d.found.Findings, diagnosis{state, d.check, what, why, mend})
}

func (d *doctor) ok(format string, args ...any) { d.add(stateOK, fmt.Sprintf(format, args...), "", "") }

func (d *doctor) note(format string, args ...any) {
	d.add(stateNote, fmt.Sprintf(format, args...), "", "")
}

func (d *doctor) warn(what, why, mend string) { d.add(stateWarning, what, why, mend) }

func (d *doctor) problem(what, why, mend string) { d.add(stateProblem, what, why, mend) }

// own is a command of keeper's, as the user's shell can run it.
func (d *doctor) own(words ...string) string {
	text := ownName()
	for _, word := range words {
		text += " " + shellQuote(word)
	}
	if d.urlFlag != "" {
		text += " --url " + shellQuote(d.urlFlag)
	}
	if d.dataFlag != "" && !slices.Contains(words, "--data") {
		text += " --data " + shellQuote(d.dataFlag)
	}
	return text
}

// hasData reports whether there is a data folder of keeper's here, and says so where
// there is none.
func (d *doctor) hasData() bool {
	if d.elsewhere {
		d.note("keeper is on another machine; run keeper doctor there")
		return false
	}
	_, err := os.Stat(d.data)
	switch {
	case d.data == "" || errors.Is(err, fs.ErrNotExist):
		d.note("there is no data folder %s; keeper makes it at its first start, or --data names another", d.data)
	case err != nil:
		d.problem("the data folder "+d.data+" cannot be looked at: "+causeOf(err), "Keeper could not start on it.", "sudo "+d.own("doctor", "--data", d.data))
	}
	return d.data != "" && err == nil
}

// causeOf is what went wrong with a file, without the file.
func causeOf(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}
