package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/superinstance/keeper/internal/scanner"
)

const (
	maxLeakBytes = 8 << 20 // of a file that are looked through
	namedLines   = 8

	whyLeak = "An agent that reads it has the key, and needs keeper no more."
)

// agentMarks are variables that agents' hosts set for what an agent starts.
var agentMarks = []string{"CLAUDECODE", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "CURSOR_AGENT", "GEMINI_CLI", "OPENCODE", "AI_AGENT"}

// checkEnvironment looks for what agents that are started from here would get.
func (d *doctor) checkEnvironment(context.Context) {
	before := len(d.found.Findings)
	d.checkAdminToken()
	var alike []string
	providers := d.keyVariables()
	for _, name := range slices.Sorted(maps.Keys(d.env)) {
		value := d.env[name]
		if value == "" || strings.HasPrefix(name, "KEEPER_") || value == d.env["KEEPER_TOKEN"] || isKeeperToken(value) {
			continue
		}
		provider := providers[name]
		switch {
		case isKey(d.scanner, value):
			d.problem("a real key is in the environment, in "+name, "Every program that is started from here has it, agents too.", d.envMend(name, provider))
		case provider != "":
			d.warn("a key of "+provider+" may be in the environment, in "+name, "Every program that is started from here has it, agents too.", d.envMend(name, provider))
		case namedLikeKey(name):
			alike = append(alike, name)
		}
	}
	if len(alike) > 0 {
		d.warn("variables that are named like keys are in the environment: "+strings.Join(alike, " "), "Every program that is started from here has them; keeper run takes them out.", "unset "+strings.Join(alike, " "))
	}
	if len(d.found.Findings) == before {
		d.ok("no key is in the environment")
	}
}

// checkAdminToken looks for the operator's own credentials.
func (d *doctor) checkAdminToken() {
	for _, name := range slices.Sorted(maps.Keys(d.env)) {
		if !holdsSecret(name) || name == "KEEPER_TOKEN" || d.env[name] == "" {
			continue
		}
		why := "Whoever has it can grant himself everything, and read what the vault is opened with."
		if name == "KEEPER_STORE" {
			if !hasPassword(d.env[name]) {
				continue
			}
			why = "Whoever has it can read the audit log, and change what keeper decides by."
		}
		what := name + " is in the environment"
		if mark := d.setOf(append(agentMarks, "KEEPER_TOKEN")); mark != "" {
			d.problem(what+" of an agent ("+mark+" is set, too)", why, "unset "+name)
			continue
		}
		d.warn(what, "Every program that is started from here has it, agents too.", "unset "+name)
	}
}

// keyVariables are the variables that hold real keys, with their providers.
func (d *doctor) keyVariables() map[string]string {
	all := map[string]string{}
	for _, p := range d.catalogue.Providers() {
		for _, name := range p.RealKeys() {
			all[name] = firstOf(all[name], p.Name)
		}
	}
	return all
}

func (d *doctor) envMend(name, provider string) string {
	if provider == "" {
		return "unset " + name
	}
	return "printenv " + name + " | " + d.own("secret", "set", provider) + " && unset " + name
}

// isKeeperToken reports whether the text has the form of keeper's own tokens, which
// may be where a key would.
func isKeeperToken(text string) bool {
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) != 3 {
		return false
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	var issuer struct {
		Iss string `json:"iss"`
	}
	return err == nil && json.Unmarshal(claims, &issuer) == nil && issuer.Iss == "keeper"
}

// leakPlace is where keys are known to lie.
type leakPlace struct {
	path    string
	secret  *regexp.Regexp // what is one there, whatever its form
	history bool           // of a shell: its lines can go
	hosts   bool           // each line is of a host
	mend    string         // beside taking the lines out
}

var (
	netrcSecret  = regexp.MustCompile(`(?m)\bpassword\s+\S+`)
	gitSecret    = regexp.MustCompile(`(?m)^\w+://[^:/@\s]*:[^@\s]+@.*$`)
	awsSecret    = regexp.MustCompile(`(?im)^\s*aws_(secret_access_key|session_token)\s*=\s*\S{8,}`)
	ghSecret     = regexp.MustCompile(`(?m)^\s*oauth_token:\s*\S{8,}`)
	npmSecret    = regexp.MustCompile(`(?m)_(authToken|auth|password)\s*=\s*[^\s$]\S{7,}`)
	iniSecret    = regexp.MustCompile(`(?m)^\s*(password|token)\s*[=:]\s*\S{8,}`)
	jsonSecret   = regexp.MustCompile(`"(auth|access_token|refresh_token|private_key|client_secret|OPENAI_API_KEY|accessToken|refreshToken)"\s*:\s*"[^"]{8,}"`)
	sampleSuffix = regexp.MustCompile(`\.(example|sample|template|dist|defaults?)$`)
)

// leakPlaces are looked at, as far as they are there.
func (d *doctor) leakPlaces() []leakPlace {
	home := func(parts ...string) string { return filepath.Join(append([]string{d.env["HOME"]}, parts...)...) }
	config := firstOf(d.env["XDG_CONFIG_HOME"], home(".config"))
	places := []leakPlace{
		{path: firstOf(d.env["NETRC"], home(".netrc")), secret: netrcSecret, hosts: true},
		{path: firstOf(d.env["AWS_SHARED_CREDENTIALS_FILE"], home(".aws", "credentials")), secret: awsSecret, mend: "KEEPER secret set aws && KEEPER setup aws"},
		{path: filepath.Join(firstOf(d.env["GH_CONFIG_DIR"], filepath.Join(config, "gh")), "hosts.yml"), secret: ghSecret, mend: "gh auth token | KEEPER secret set github && KEEPER setup gh && gh auth logout"},
		{path: home(".git-credentials"), secret: gitSecret, hosts: true, mend: "KEEPER secret set github && KEEPER setup git"},
		{path: filepath.Join(config, "git", "credentials"), secret: gitSecret, hosts: true, mend: "KEEPER secret set github && KEEPER setup git"},
		{path: home(".npmrc"), secret: npmSecret}, {path: home(".pypirc"), secret: iniSecret}, {path: home(".env")},
		{path: home(".cargo", "credentials.toml"), secret: iniSecret},
		{path: home(".docker", "config.json"), secret: jsonSecret},
		{path: home(".codex", "auth.json"), secret: jsonSecret}, {path: home(".claude", ".credentials.json"), secret: jsonSecret},
		{path: filepath.Join(config, "gcloud", "application_default_credentials.json"), secret: jsonSecret},
		{path: home(".bash_history"), history: true}, {path: home(".zsh_history"), history: true},
		{path: home(".local", "share", "fish", "fish_history"), history: true}, {path: home(".python_history"), history: true},
	}
	if file := d.env["HISTFILE"]; file != "" {
		places = append(places, leakPlace{path: file, history: true})
	}
	if d.env["HOME"] == "" {
		places = nil // nobody's files
	}
	local, err := filepath.Glob(".env*")
	if err != nil {
		return places
	}
	for _, file := range local {
		if !sampleSuffix.MatchString(file) {
			places = append(places, leakPlace{path: file})
		}
	}
	return places
}

// checkFiles looks for real keys in the files where keys are known to lie.
func (d *doctor) checkFiles(ctx context.Context) {
	before := len(d.found.Findings)
	seen := map[string]bool{}
	for _, place := range d.leakPlaces() {
		full, err := filepath.Abs(place.path)
		if err != nil || seen[full] || ctx.Err() != nil {
			continue
		}
		seen[full] = true
		d.checkPlace(place)
	}
	if len(d.found.Findings) == before {
		d.ok("no key is in the files where keys are known to lie")
	}
}

func (d *doctor) checkPlace(place leakPlace) {
	f, err := os.OpenFile(place.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be a pipe
	if err != nil {
		return // it is not there, or not ours
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLeakBytes))
	if err != nil {
		d.note("%s cannot be read: %s", place.path, causeOf(err))
		return
	}
	leaks := d.leaks(text, place)
	if len(leaks.lines) == 0 {
		return
	}
	what := fmt.Sprintf("%s in %s, %s", plural(len(leaks.lines), "key"), place.path, leaks)
	if leaks.sure {
		d.problem(what, whyLeak, d.placeMend(place, leaks))
	} else {
		d.warn(what, whyLeak, d.placeMend(place, leaks))
	}
}

// leakage is where in a file keys are, and of which rules.
type leakage struct {
	lines []int
	rules []string
	sure  bool // one of them is a key by its form, or by its place
}

func (l leakage) String() string {
	var lines []string
	for _, line := range l.lines[:min(namedLines, len(l.lines))] {
		lines = append(lines, fmt.Sprint(line))
	}
	text := "line " + strings.Join(lines, ", ")
	if len(l.lines) > namedLines {
		text += " and others"
	}
	if len(l.rules) > 0 {
		text += " (" + strings.Join(l.rules, ", ") + ")"
	}
	return text
}

// leaks are the lines of a text that hold a key which is not keeper's own.
func (d *doctor) leaks(text []byte, place leakPlace) (l leakage) {
	lines := map[int]bool{}
	add := func(start, end int) bool {
		from := bytes.LastIndexByte(text[:start], '\n') + 1
		rest, _, _ := bytes.Cut(text[end:], []byte("\n"))
		if line := text[from : end+len(rest)]; place.hosts && d.isOwnLine(line) || isKeeperToken(string(text[start:end])) {
			return false
		}
		lines[1+bytes.Count(text[:start], []byte("\n"))] = true
		return true
	}
	for _, f := range d.scanner.Scan(text, "file") {
		if !f.Redacts() || !add(f.Start, f.End) {
			continue
		}
		l.sure = l.sure || f.Confidence == scanner.High
		if !slices.Contains(l.rules, f.Rule) {
			l.rules = append(l.rules, f.Rule)
		}
	}
	if place.secret != nil {
		for _, at := range place.secret.FindAllIndex(text, -1) {
			l.sure = add(at[0], at[1]) || l.sure
		}
	}
	l.lines = slices.Sorted(maps.Keys(lines))
	return l
}

// isOwnLine reports whether a line is of a password for keeper, and of no other.
func (d *doctor) isOwnLine(line []byte) bool {
	return bytes.Contains(line, []byte(d.client.base.Host)) && bytes.Count(line, []byte("machine")) < 2
}

// placeMend puts the key into keeper and takes it out of the file.
func (d *doctor) placeMend(place leakPlace, l leakage) string {
	file := shellQuote(place.path)
	if place.history {
		var parts []string
		for _, line := range l.lines {
			parts = append(parts, fmt.Sprint(line, "d"))
		}
		return "sed -i '" + strings.Join(parts, ";") + "' " + file + "   # and have the provider replace the key"
	}
	store := place.mend
	if provider := d.providerOf(l.rules); store == "" && provider != "" {
		store = "KEEPER secret set " + provider
	}
	if store != "" {
		store = strings.ReplaceAll(store, "KEEPER", ownName()) + " && "
	}
	return store + "${EDITOR:-vi} +" + fmt.Sprint(l.lines[0]) + " " + file
}

// providerOf is the provider whose name a rule begins with, or "".
func (d *doctor) providerOf(rules []string) string {
	for _, rule := range rules {
		name, _, _ := strings.Cut(rule, "-")
		if p, known := d.catalogue.Provider(name); known {
			return p.Name
		}
	}
	return ""
}
