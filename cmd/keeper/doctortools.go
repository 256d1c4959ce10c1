package main

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/toolsetup"
)

// checkTools looks whether what keeper setup wrote is still there and still leads here.
func (d *doctor) checkTools(context.Context) {
	state, err := d.setupState()
	if err != nil {
		d.note("it is not known which tools are set up: %v", err)
		return
	}
	any := false
	for _, tool := range toolsetup.Tools() {
		status, err := state.Status(tool.Name)
		if err != nil {
			d.warn("it cannot be read how "+tool.Name+" was set up: "+printable(err.Error()), "It can neither be set up anew nor undone.", "ls -la "+shellQuote(string(state)))
		}
		if err == nil && status.SetUp {
			any = true
			d.checkTool(tool, status)
		}
	}
	if !any && err == nil {
		d.ok("no tool is set up, so that none can be broken")
	}
}

func (d *doctor) checkTool(tool toolsetup.Tool, status toolsetup.Status) {
	before := len(d.found.Findings)
	again := d.own("setup", tool.Name, "--agent", status.Agent)
	if status.Changed {
		d.warn("the files of "+tool.Title+" were changed since keeper setup", "It may call its provider itself, with a real key, or nothing at all.", again)
	}
	if !d.leadsToKeeper(status.URL) {
		d.warn(tool.Title+" is set up for keeper at "+status.URL+", and not at "+d.at(), "It calls a keeper that may not be there.", again)
	}
	if _, err := d.agentSecret(status.Agent); errors.Is(err, fs.ErrNotExist) {
		d.problem("the secret of agent "+status.Agent+", as which "+tool.Title+" acts, is missing", "The tool gets no token.", again)
	}
	if set := d.shadowing(tool); len(set) > 0 {
		d.warn("the environment sets "+strings.Join(set, " and ")+", which "+tool.Title+" heeds before what is set up", "It goes round keeper.", "unset "+strings.Join(set, " "))
	}
	if len(d.found.Findings) == before {
		d.ok("%s calls %s as agent %s", tool.Title, status.URL, status.Agent)
	}
}

func (d *doctor) shadowing(tool toolsetup.Tool) (set []string) {
	for _, name := range tool.Shadows {
		if d.env[name] != "" {
			set = append(set, name)
		}
	}
	return set
}

// checkProxies looks for variables that lead calls past keeper.
func (d *doctor) checkProxies(context.Context) {
	before := len(d.found.Findings)
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		if value := d.env[name]; value != "" && !d.leadsToKeeper(value) {
			d.warn(name+" leads to another proxy, "+hostOf(value), "Tools that heed it call providers by way of that, and not of keeper.", "unset "+name+"   # or start them by keeper run")
		}
	}
	for _, pair := range [][2]string{{"HTTPS_PROXY", "https_proxy"}, {"NO_PROXY", "no_proxy"}} {
		upper, lower := d.env[pair[0]], d.env[pair[1]]
		if upper != "" && lower != "" && upper != lower {
			d.warn(pair[0]+" and "+pair[1]+" differ", "Which of them counts depends on the tool, so that some go round keeper.", "export "+pair[1]+"=\"$"+pair[0]+"\"")
		}
	}
	if d.proxied() {
		d.checkBypassed("NO_PROXY")
		d.checkBypassed("no_proxy")
	}
	d.checkBaseURLs()
	if len(d.found.Findings) == before {
		d.ok("no variable leads round keeper")
	}
}

// hostOf is where a URL leads, without what may be a password in it.
func hostOf(text string) string {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return u.Host
	}
	return "at an address that cannot be read"
}

// checkBypassed looks for providers' hosts among those that are called without a proxy.
func (d *doctor) checkBypassed(name string) {
	var around []string
	for entry := range strings.SplitSeq(d.env[name], ",") {
		entry = strings.TrimSpace(entry)
		suffix := "." + strings.TrimPrefix(strings.ToLower(entry), ".")
		for _, p := range d.catalogue.Providers() {
			u, err := url.Parse(p.BaseURL)
			if err == nil && u.Host != "" && entry != "" && (entry == "*" || strings.HasSuffix("."+u.Hostname(), suffix)) && !slices.Contains(around, p.Name) {
				around = append(around, p.Name)
			}
		}
	}
	if len(around) == 0 {
		return
	}
	const named = 5
	what := strings.Join(around[:min(named, len(around))], ", ")
	if len(around) > named {
		what += " and others"
	}
	d.problem(name+" lets calls to "+what+" go round keeper", "They are neither checked nor recorded, and need a real key.", "export "+name+"=localhost,127.0.0.1,::1")
}

// checkBaseURLs looks at the variables that tell providers' SDKs where to call.
func (d *doctor) checkBaseURLs() {
	own := d.client.base.String()
	for _, p := range d.catalogue.Providers() {
		if p.Client == nil {
			continue
		}
		for _, u := range p.Client.BaseURLs {
			value := d.env[u.Env]
			if value == "" || d.leadsToKeeper(value) {
				continue
			}
			d.warn(u.Env+" leads to "+hostOf(value)+", and not to keeper", "What uses the SDK of "+p.Name+" goes round keeper.", "export "+u.Env+"="+shellQuote(own+"/api/v1/proxy/"+p.Name+u.Suffix))
		}
	}
}
