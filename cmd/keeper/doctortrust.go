package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	toolPatience   = 5 * time.Second
	maxBundleBytes = 32 << 20
)

// truster is a tool that can be told whom to trust.
type truster struct {
	title, program string
	variables      []string // each names a bundle; the first that is set counts
	// named is where a file of the tool's own names a bundle, or "".
	named func(d *doctor, ctx context.Context) string
	// added are the files that count beside it.
	added func(d *doctor) []string
	// system: without any, the tool trusts what the system does, else what it brings.
	system bool
	mend   string // CA is keeper's certificate, BUNDLE that and the system's
}

const mendBundle = mendCA + "cat SYSTEM CA > BUNDLE && export "

// mendCA has keeper's certificate written to a file.
const mendCA = "mkdir -p FOLDER && KEEPER ca --out CA && "

// trusters are the tools that are looked for.
var trusters = []truster{
	{title: "curl", program: "curl", variables: []string{"CURL_CA_BUNDLE", "SSL_CERT_FILE"}, system: true, mend: mendBundle + "CURL_CA_BUNDLE=BUNDLE"},
	{title: "git", program: "git", variables: []string{"GIT_SSL_CAINFO"}, named: gitBundle, system: true, mend: mendBundle + "GIT_SSL_CAINFO=BUNDLE"},
	{title: "gh", program: "gh", variables: []string{"SSL_CERT_FILE"}, system: true, mend: mendBundle + "SSL_CERT_FILE=BUNDLE"},
	{title: "Node.js", program: "node", added: nodeBundles, mend: mendCA + "export NODE_EXTRA_CA_CERTS=CA"},
	{title: "Python", program: "python3", variables: []string{"SSL_CERT_FILE"}, system: true, mend: mendBundle + "SSL_CERT_FILE=BUNDLE"},
	{title: "Python's requests", program: "python3", variables: []string{"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}, named: certifiBundle, mend: mendBundle + "REQUESTS_CA_BUNDLE=BUNDLE"},
	{title: "Deno", program: "deno", added: denoBundles, mend: mendCA + "export DENO_CERT=CA"},
	{title: "Cargo", program: "cargo", variables: []string{"CARGO_HTTP_CAINFO", "SSL_CERT_FILE"}, system: true, mend: mendBundle + "CARGO_HTTP_CAINFO=BUNDLE"},
	{title: "AWS CLI", program: "aws", variables: []string{"AWS_CA_BUNDLE"}, named: awsBundle, mend: mendBundle + "AWS_CA_BUNDLE=BUNDLE"},
	{title: "Java", program: "java", named: javaStore, mend: mendCA + "sudo keytool -importcert -noprompt -cacerts -storepass changeit -alias keeper -file CA"},
}

// checkTrust looks whether each tool that is installed knows keeper's authority, which
// matters where keeper is its proxy.
func (d *doctor) checkTrust(ctx context.Context) {
	if d.healthy != nil && !d.healthy.Proxy {
		d.note("keeper is no proxy, so that nobody needs to trust its authority")
		return
	}
	authority := d.authority(ctx)
	if authority == nil {
		d.note("keeper's authority is not known here, since no keeper answers and %s is not there", filepath.Join(d.data, "ca.pem"))
		return
	}
	var strangers []string
	for _, t := range trusters {
		if d.findProgram(t.program, "") != "" && !d.checkTruster(ctx, t, authority) {
			strangers = append(strangers, t.title)
		}
	}
	if len(strangers) > 0 {
		d.add(stateNote, "keeper's authority is not known to "+strings.Join(strangers, ", ")+"; it has to be where keeper is their proxy, which keeper run sees to",
			"", d.own("run")+` -- "$SHELL"`)
	}
}

// authority is keeper's, as keeper itself or the data folder has it.
func (d *doctor) authority(ctx context.Context) *x509.Certificate {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	var text []byte
	err := errors.New("no keeper answers")
	if d.healthy != nil {
		text, err = d.client.authority(ctx)
	}
	if err != nil && !d.elsewhere {
		text, err = readFile(filepath.Join(d.data, "ca.pem"), maxAuthorityBytes)
	}
	if err != nil {
		return nil
	}
	cert, _, err := parseAuthority(text)
	if err != nil {
		return nil
	}
	return cert
}

// checkTruster is false where the tool does not know the authority, and need not.
func (d *doctor) checkTruster(ctx context.Context, t truster, authority *x509.Certificate) bool {
	files, how := t.files(ctx, d)
	if t.title == "Python's requests" && len(files) == 0 {
		return true // it is not installed
	}
	unread := ""
	for _, file := range files {
		switch held, err := holdsCertificate(file, authority); {
		case held:
			d.ok("%s trusts keeper's authority, by %s", t.title, how)
			return true
		case err != nil && slices.Contains(systemRoots, file) && errors.Is(err, fs.ErrNotExist):
		case err != nil:
			unread = file
		}
	}
	if unread != "" && how != "" && how != "its own bundle" {
		d.problem(t.title+" is told by "+how+" to trust "+unread+", which cannot be read", "It refuses every connection by TLS, or trusts less than you meant.", strings.Replace("unset NAME", "NAME", firstOf(d.setOf(t.variables), how), 1))
		return true
	}
	if !d.proxied() {
		return false
	}
	d.problem(t.title+" does not know keeper's authority, and the environment makes keeper its proxy", "Each of its calls fails with an error about certificates.", d.trustMend(t.mend))
	return true
}

// files are what the tool trusts, and what says so.
func (t truster) files(ctx context.Context, d *doctor) (files []string, how string) {
	if t.added != nil {
		files = t.added(d)
		how = "a variable of its own"
	}
	if name := d.setOf(t.variables); name != "" {
		return append(files, d.env[name]), name
	}
	if t.named != nil {
		if file := t.named(d, ctx); file != "" {
			return append(files, file), "its own settings"
		}
	}
	if t.system {
		return append(files, systemRoots...), "the system's authorities"
	}
	return files, how
}

// setOf is the first of the variables that is set.
func (d *doctor) setOf(variables []string) string {
	for _, name := range variables {
		if d.env[name] != "" {
			return name
		}
	}
	return ""
}

// trustMend fills in where things are.
func (d *doctor) trustMend(mend string) string {
	folder := d.configFolder()
	system := systemRoots[0]
	for _, file := range systemRoots {
		if _, err := os.Stat(file); err == nil {
			system = file
			break
		}
	}
	return strings.NewReplacer("FOLDER", shellQuote(folder), "KEEPER ca", d.own("ca"), "CA_BUNDLE", "CA_BUNDLE", "SSL_CAINFO", "SSL_CAINFO", "CARGO_HTTP_CAINFO", "CARGO_HTTP_CAINFO",
		"EXTRA_CA_CERTS", "EXTRA_CA_CERTS", "CA", shellQuote(filepath.Join(folder, "ca.pem")), "BUNDLE", shellQuote(filepath.Join(folder, "trusted.pem")), "SYSTEM", system).Replace(mend)
}

// holdsCertificate reports whether the file, PEM or a store of Java's, holds it.
func holdsCertificate(file string, cert *x509.Certificate) (bool, error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return false, errors.New("it is no file")
	}
	text, err := readFile(file, maxBundleBytes)
	if err != nil {
		return false, err
	}
	if bytes.Contains(text, cert.Raw) {
		return true, nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if bytes.Equal(block.Bytes, cert.Raw) {
			return true, nil
		}
	}
	return false, nil
}

// proxied reports whether the environment makes keeper the proxy of what is started.
func (d *doctor) proxied() bool {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		if d.leadsToKeeper(d.env[name]) {
			return true
		}
	}
	return false
}

// leadsToKeeper reports whether a URL is of one of keeper's listeners.
func (d *doctor) leadsToKeeper(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return false
	}
	listeners := append([]string{d.client.base.Host, d.config.Addr, d.config.AdminAddr}, slices.Collect(maps.Values(d.config.ProviderListen))...)
	return slices.ContainsFunc(listeners, func(l string) bool { return strings.EqualFold(l, u.Host) })
}

// output is what a program prints in the root folder, or "" where it fails.
func (d *doctor) output(ctx context.Context, program string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, toolPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.findProgram(program, ""), args...)
	cmd.Dir = "/" // what is in this folder has no say
	for name, value := range d.env {
		if !holdsSecret(name) {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	text, err := cmd.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func gitBundle(d *doctor, ctx context.Context) string {
	return d.output(ctx, "git", "config", "--get", "http.sslCAInfo")
}

// certifiScript prints where requests has its bundle, without running either.
const certifiScript = `import importlib.util as u
r, c = u.find_spec("requests"), u.find_spec("certifi")
print(c.submodule_search_locations[0] + "/cacert.pem" if r and c else "")`

func certifiBundle(d *doctor, ctx context.Context) string {
	file := d.output(ctx, "python3", "-B", "-c", certifiScript)
	if _, err := os.Stat(file); file != "" && err != nil {
		return systemRoots[0] // as distributions build it
	}
	return file
}

func nodeBundles(d *doctor) []string {
	var files []string
	if file := d.env[nodeTrust]; file != "" {
		files = append(files, file)
	}
	options := d.env["NODE_OPTIONS"]
	if strings.Contains(options, "--use-openssl-ca") && d.env["SSL_CERT_FILE"] != "" {
		return append(files, d.env["SSL_CERT_FILE"])
	}
	if strings.Contains(options, "--use-openssl-ca") || strings.Contains(options, "--use-system-ca") || d.env["NODE_USE_SYSTEM_CA"] == "1" {
		files = append(files, systemRoots...)
	}
	return files
}

func denoBundles(d *doctor) []string {
	var files []string
	if file := d.env["DENO_CERT"]; file != "" {
		files = append(files, file)
	}
	if strings.Contains(d.env["DENO_TLS_CA_STORE"], "system") {
		files = append(files, systemRoots...)
	}
	return files
}

var awsSetting = regexp.MustCompile(`(?m)^\s*ca_bundle\s*=\s*(\S+)`)

func awsBundle(d *doctor, _ context.Context) string {
	file := firstOf(d.env["AWS_CONFIG_FILE"], filepath.Join(d.env["HOME"], ".aws", "config"))
	text, err := readFile(file, maxBundleBytes)
	if found := awsSetting.FindSubmatch(text); err == nil && found != nil {
		return string(found[1])
	}
	return d.env["REQUESTS_CA_BUNDLE"]
}

var javaSetting = regexp.MustCompile(`-Djavax\.net\.ssl\.trustStore=(\S+)`)

func javaStore(d *doctor, _ context.Context) string {
	if found := javaSetting.FindStringSubmatch(d.env["JAVA_TOOL_OPTIONS"]); found != nil {
		return found[1]
	}
	home := d.env["JAVA_HOME"]
	if home == "" {
		real, err := filepath.EvalSymlinks(d.findProgram("java", ""))
		if err != nil {
			return ""
		}
		home = filepath.Dir(filepath.Dir(real))
	}
	for _, store := range []string{"lib/security/cacerts", "jre/lib/security/cacerts"} {
		if file := filepath.Join(home, store); fileThere(file) {
			return file
		}
	}
	return ""
}

func fileThere(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
