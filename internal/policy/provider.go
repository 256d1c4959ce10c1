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
	// Name is the provider in scopes and in the proxy's path, lower case.
	Name string `yaml:"name"`
	// Title is the name for people.
	Title string `yaml:"title"`
	// Docs is the address of the vendor's API reference.
	Docs string `yaml:"docs"`
	// BaseURL is what the caller's path is appended to.
	BaseURL string `yaml:"baseURL"`
	// Tenant is set instead of BaseURL where every customer has an address of
	// his own: it says, for a sentence, what the operator must name.
	Tenant string `yaml:"tenant"`
	// Hosts are the names under which the provider's own clients reach it where
	// keeper is their proxy, beside that of BaseURL: "name[:port][/path]". A label
	// may be "*" ("bedrock.*.amazonaws.com"); "*" alone is every other host, and
	// only for what bears no credential. Calls go to the host that was asked for.
	Hosts []string `yaml:"hosts"`
	// Tunnel passes connections to Hosts on unread: nothing is scanned, and no
	// credential goes in. It needs the scope "provider:tunnel".
	Tunnel bool `yaml:"tunnel"`
	// Check is how an operator tests a credential; nil where there is no harmless
	// call that tells.
	Check *Check `yaml:"check"`
	// KeyIn lists where the provider's clients put the key: "Header",
	// "Header: Scheme", "?parameter" or "form field".
	KeyIn []string `yaml:"keyIn"`
	// Inject is how the credential goes into a call.
	Inject *Injection `yaml:"inject"`
	// Headers are set where the caller sent none of that name.
	Headers map[string]string `yaml:"headers"`
	// Refusal is one of the Refusal constants; empty means universal.
	Refusal string `yaml:"refusal"`
	// Stream is one of the Stream constants; empty means none.
	Stream string `yaml:"stream"`
	// Client says how a child process is pointed at keeper.
	Client *Client `yaml:"client"`
	// Routes are calls that go elsewhere or by other rules; the first that
	// matches counts.
	Routes []RouteRule `yaml:"routes"`
	// Permissions maps a permission to the calls that it covers, each
	// "METHODS /path [name=value …] [graphql query|mutation]".
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
	// Name is for people.
	Name string `yaml:"name"`
	// Calls are rules as in Permissions; any of them makes the route.
	Calls []string `yaml:"calls"`
	// BaseURL is where the calls go.
	BaseURL string `yaml:"baseURL"`
	// Hosts are as a Provider has them; without a BaseURL or Hosts of its own, a
	// route is at the provider's.
	Hosts []string `yaml:"hosts"`
	// Strip is taken off the front of the paths of the calls, which all begin with
	// it. Where the operator names another address, it stays on.
	Strip string `yaml:"strip"`
	// Inject is how the credential goes into the calls.
	Inject *Injection `yaml:"inject"`
	// Refusal is the shape of a refusal.
	Refusal string `yaml:"refusal"`
	// Integrity says that the client checks the body: it may be cut, but not
	// rewritten.
	Integrity bool `yaml:"integrity"`
	// Permissions, where given, are the only ones that count for the calls,
	// beside the defaults of read and write.
	Permissions map[string][]string `yaml:"permissions"`

	operatorNamed bool
	aliases       []string
}

// Client lists the environment variables of a provider's clients.
type Client struct {
	// BaseURLs name the variables that hold the base URL, with what must
	// follow the provider's root in them.
	BaseURLs []EnvURL `yaml:"baseURLs"`
	// Keys name the variables that get keeper's token in place of the key.
	Keys []string `yaml:"keys"`
	// Set gives variables a value that is no secret and that clients need.
	Set map[string]string `yaml:"set"`
	// Secrets name further variables that would hold a real key; those of
	// Keys would as well.
	Secrets []string `yaml:"secrets"`
	// Git lists the URL prefixes that git must rewrite to the provider's root.
	Git []string `yaml:"git"`
}

// EnvURL is an environment variable that holds a base URL.
type EnvURL struct {
	Env    string `yaml:"env"`
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
