package policy

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/policy/scope"
)

// How a refusal must look for the clients of a route to show it.
const (
	RefusalUniversal = "universal" // one JSON body that most SDKs show
	RefusalSlack     = "slack"     // HTTP 200 and {"ok":false,"error":code}
	RefusalGit       = "git"       // text/plain
	RefusalGRPC      = "grpc"      // of every call of gRPC, and of no others: no definition says it
	RefusalS3XML     = "s3xml"     // Amazon S3's <Error>
	RefusalAWSJSON   = "awsjson"   // AWS's JSON protocols, with x-amzn-errortype
	RefusalJSONRPC   = "jsonrpc"   // JSON-RPC 2.0, as MCP has it: HTTP 200 and the request's id
)

// refusals are those that a definition may say.
var refusals = []string{RefusalUniversal, RefusalSlack, RefusalGit, RefusalS3XML, RefusalAWSJSON, RefusalJSONRPC}

// The dialect of a provider's event streams, in which a cut is announced.
const (
	StreamNone      = "none"
	StreamOpenAI    = "openai"
	StreamAnthropic = "anthropic"
	StreamGemini    = "gemini"
	StreamMCP       = "mcp" // messages of JSON-RPC
)

// streams are all of them. AWS's binary event streams need no dialect: they are
// known by their media type.
var streams = []string{StreamNone, StreamOpenAI, StreamAnthropic, StreamGemini, StreamMCP}

// The permissions that every provider has. Read is GET, HEAD and OPTIONS, and
// write is what read does not cover, unless the definition says otherwise.
const (
	PermissionRead  = "read"
	PermissionWrite = "write"
)

// PermissionTunnel is the one permission of a provider that is passed on unread.
const PermissionTunnel = "tunnel"

// Provider defines one API: where it is, how its credential goes into a call
// and which calls a permission covers. It is written as YAML, where an unknown
// key is an error; in an override a field that is not given keeps its value.
//
// A Provider that comes from a Catalogue is shared: its fields are for reading.
// Decisions are taken on the Catalogue's own copy, so changing them has no
// effect on what is allowed.
type Provider struct {
	// Its name in scopes and in `/api/v1/proxy/<name>/…`, lower case. Required.
	Name string `yaml:"name"`
	// Its name for people.
	Title string `yaml:"title"`
	// Address of the vendor's API reference.
	Docs string `yaml:"docs"`
	// What the caller's path is appended to, `https://…`.
	BaseURL string `yaml:"baseURL"`
	// In place of `baseURL`, where every customer has an address of his own: what the
	// operator must name.
	Tenant string `yaml:"tenant"`
	// Names under which its clients reach it where keeper is their proxy, beside that of
	// `baseURL`: `name[:port][/path]`, in which a label may be `*` (`s3.*.amazonaws.com`).
	// Calls go to the host that was asked for; to the host of a built-in provider that was
	// given another address, there. A name that is spelled out, without `*`, may lead to a
	// private address. `*` alone is every other host, for `inject.none`.
	Hosts []string `yaml:"hosts"`
	// Connections to `hosts` are passed on unread, without a credential, for agents with the
	// scope `<name>:tunnel`.
	Tunnel bool `yaml:"tunnel"`
	// How an operator tests a credential; without it there is no harmless call that tells.
	Check *Check `yaml:"check"`
	// Where its clients put the key, for readers: `Header`, `Header: Scheme`, `?parameter`
	// or `form field`. Keeper takes its token from the places that
	// [token_missing](errors.md#token_missing) names.
	KeyIn []string `yaml:"keyIn"`
	// How the credential goes into a call. Default: `Authorization: Bearer`.
	Inject *Injection `yaml:"inject"`
	// Headers, by name, that are set where the caller sent none.
	Headers map[string]string `yaml:"headers"`
	// How keeper's refusals [look](errors.md#how-a-refusal-looks), for its clients to
	// show them. Values: `universal`,
	// `slack`, `git`, `s3xml`, `awsjson`, `jsonrpc`. Default: `universal`.
	Refusal string `yaml:"refusal"`
	// Dialect of its event streams. Values: `none`, `openai`, `anthropic`, `gemini`, `mcp`.
	// Default: `none`.
	Stream string `yaml:"stream"`
	// How `keeper run` points a command at keeper.
	Client *Client `yaml:"client"`
	// Calls that go elsewhere or by other rules; the first that matches counts.
	Routes []RouteRule `yaml:"routes"`
	// By permission, the calls that it covers: `METHODS /path [name=value …] [graphql
	// query|mutation]`. Methods are joined by commas, or `ANY`; `{id}` is one segment,
	// `{rest...}` the rest. `read` (GET, HEAD, OPTIONS) and `write` (all else) exist anyway.
	Permissions map[string][]string `yaml:"permissions"`

	operatorNamed bool        // the operator named the address
	hostsNamed    bool        // the operator named Hosts
	aliases       []string    // hosts of before the operator named another address
	all           scope.Scope // "provider:*"
	routes        []route
}

// RouteRule defines the calls of a provider that differ from its others. What
// it leaves out is as the provider has it.
type RouteRule struct {
	// Its name for people.
	Name string `yaml:"name"`
	// The calls, as in `permissions`; any of them makes the route.
	Calls []string `yaml:"calls"`
	// Where they go.
	BaseURL string `yaml:"baseURL"`
	// As the provider has them. A route without `baseURL` and `hosts` of its own is at the
	// provider's.
	Hosts []string `yaml:"hosts"`
	// What is taken off the front of the path, where the provider's address was not changed.
	Strip string `yaml:"strip"`
	// How the credential goes into these calls.
	Inject *Injection `yaml:"inject"`
	// How keeper's refusals of these calls look. Values: `universal`, `slack`, `git`,
	// `s3xml`, `awsjson`, `jsonrpc`.
	Refusal string `yaml:"refusal"`
	// The client checks the body, so an answer is cut where it would have to be redacted.
	Integrity bool `yaml:"integrity"`
	// In place of the provider's, for these calls.
	Permissions map[string][]string `yaml:"permissions"`

	operatorNamed bool
	aliases       []string
}

// Client lists the environment variables of a provider's clients.
type Client struct {
	// Variables that hold the base URL.
	BaseURLs []EnvURL `yaml:"baseURLs"`
	// Variables that get the password of the run, in place of the key.
	Keys []string `yaml:"keys"`
	// Variables, by name, that get a value that is no secret, since clients do not start
	// without it.
	Set map[string]string `yaml:"set"`
	// Further variables that hold a real key, which are taken out. Where there are no `keys`
	// and keeper is the proxy, the first of them, and those that were taken out, get the
	// password.
	Secrets []string `yaml:"secrets"`
	// URL prefixes that git is made to send to keeper.
	Git []string `yaml:"git"`
}

// EnvURL is an environment variable that holds a base URL.
type EnvURL struct {
	// Variable that is set to keeper's address for the provider.
	Env string `yaml:"env"`
	// What follows that address, such as `/v1`.
	Suffix string `yaml:"suffix"`
}

// RealKeys returns the names of all variables that would hold a real key of
// the provider, sorted.
func (p *Provider) RealKeys() []string {
	if p.Client == nil {
		return nil
	}
	names := slices.Concat(p.Client.Keys, p.Client.Secrets)
	slices.Sort(names)
	return slices.Compact(names)
}

// PermissionNames returns what may stand behind the colon of a scope for this
// provider, read and write last.
func (p *Provider) PermissionNames() []string {
	if p.Tunnel {
		return []string{PermissionTunnel}
	}
	var names []string
	for _, r := range p.routes {
		for _, perm := range r.permissions {
			if !isDefault(perm.name) && !slices.Contains(names, perm.name) {
				names = append(names, perm.name)
			}
		}
	}
	slices.Sort(names)
	return append(names, PermissionRead, PermissionWrite)
}

func isDefault(permission string) bool {
	return permission == PermissionRead || permission == PermissionWrite
}

// Explain returns the calls that a permission covers, one a line, in any case
// and with or without the provider before it ("github:read", "read", "*").
// The result is nil for a permission that the provider does not have.
func (p *Provider) Explain(permission string) []string {
	permission = strings.ToLower(permission)
	if provider, after, found := strings.Cut(permission, ":"); found && provider == p.Name {
		permission = after
	}
	if permission == "*" {
		return []string{"every call"}
	}
	var lines []string
	for i := len(p.routes) - 1; i >= 0; i-- {
		if r := &p.routes[i]; r.calls == nil || r.ownPermissions {
			lines = append(lines, r.explain(permission)...)
		}
	}
	return lines
}

// Configured reports whether the provider has an address to send calls to, or
// hosts that stand for one.
func (p *Provider) Configured() bool {
	return len(p.routes) > 0 && (p.routes[len(p.routes)-1].base != nil || len(p.routes[len(p.routes)-1].hosts) > 0)
}

// EnvName is the provider's part of an environment variable's name:
// AZURE_OPENAI in KEEPER_PROXY_AZURE_OPENAI_URL.
func (p *Provider) EnvName() string { return envName(p.Name) }

func envName(provider string) string {
	return strings.ToUpper(strings.ReplaceAll(provider, "-", "_"))
}

// Route is where a call goes and how.
type Route struct {
	BaseURL       *url.URL          // nil where the operator has named none yet
	OperatorNamed bool              // its address may be private
	Inject        Injection         // how the credential goes in
	Headers       map[string]string // set where the caller sent none
	Refusal       string            // one of the Refusal constants
	Stream        string            // one of the Stream constants
	Integrity     bool              // the body may be cut, but not rewritten
	Strip         string            // goes off the front of the path
}

// route is a compiled RouteRule; the provider's own, which takes every call
// that no other takes, is the last.
type route struct {
	name          string
	calls         []rule // nil: every call
	base          *url.URL
	hosts         []host
	strip         string
	operatorNamed bool
	inject        Injection
	headers       map[string]string
	refusal       string
	stream        string
	integrity     bool
	permissions   []permission // named ones by name, then read, then write
	// ownPermissions says that they are not the provider's.
	ownPermissions bool
}

// permission is what one scope covers on one route.
type permission struct {
	name  string
	scope scope.Scope
	rules []rule
	rest  *permission // what that one does not cover, beside rules
}

func (p *permission) covers(read reading) bool {
	for i := range p.rules {
		if p.rules[i].matches(read) {
			return true
		}
	}
	return p.rest != nil && !p.rest.covers(read)
}

func (r *route) public() Route {
	public := Route{
		OperatorNamed: r.operatorNamed, Inject: r.inject.clone(), Headers: maps.Clone(r.headers),
		Refusal: r.refusal, Stream: r.stream, Integrity: r.integrity, Strip: r.strip,
	}
	if r.base != nil {
		base := *r.base
		public.BaseURL = &base
	}
	return public
}

func (r *route) explain(name string) []string {
	prefix := ""
	if r.name != "" {
		prefix = r.name + ": "
	}
	var lines []string
	for _, p := range r.permissions {
		if p.name != name {
			continue
		}
		for _, one := range p.rules {
			lines = append(lines, prefix+one.text)
		}
		if p.rest != nil {
			lines = append(lines, prefix+"every call that "+p.rest.name+" does not cover")
		}
	}
	return lines
}

// routesOf returns the route of a reading, and a second one where a provider
// that takes no notice of case would see another; it is nil where not.
func (p *Provider) routesOf(read reading) (exact, folded *route) {
	exact = p.find(read, (*rule).reaches)
	if folded = p.find(read, (*rule).resembles); folded == exact {
		return exact, nil
	}
	return exact, folded
}

func (p *Provider) find(read reading, match func(*rule, reading) bool) *route {
	for i := range p.routes {
		if r := &p.routes[i]; r.calls == nil || r.takes(read, match) {
			return r
		}
	}
	return nil
}

func (r *route) takes(read reading, match func(*rule, reading) bool) bool {
	for i := range r.calls {
		if match(&r.calls[i], read) {
			return true
		}
	}
	return false
}
