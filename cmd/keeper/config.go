package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/server"
)

const maxConfigBytes = 1 << 20

// Config is the file of `keeper serve --config`. Every field may be left out;
// an unknown one stops the start. Variables of the environment override the
// file, and flags override both.
type Config struct {
	// Where agents call, `host:port`. Beyond loopback it needs `tls`. Default:
	// `127.0.0.1:8700`.
	Addr string `yaml:"addr"`
	// A second listener, `host:port`: every route but the proxy, registration, tokens and
	// their exchange, health and the public keys is on that one alone. Default: none, `addr`
	// serves all.
	AdminAddr string `yaml:"adminAddr"`
	// Folder of the store and the keys. One keeper at a time can have it. Default:
	// `$XDG_STATE_HOME/keeper`, else `~/.local/state/keeper`.
	Data string `yaml:"data"`
	// PostgreSQL database that keeps the store in place of the folder,
	// `postgres://user@host/name`; see [PostgreSQL](postgres.md). Default: none, the store
	// is in `data`.
	Store string `yaml:"store"`
	// How old what keeper knows of other keepers' changes in `store` may be, such as
	// revocations: where the database cannot be asked for longer, calls are refused. `1s` or
	// more. Default: `5s`.
	Staleness time.Duration `yaml:"staleness"`
	// How connections to keeper are protected: one of certFile with keyFile, ownCA and
	// endsBefore, before keeper listens beyond loopback.
	TLS TLSConfig `yaml:"tls"`
	// Keeper as the proxy of clients, by HTTPS_PROXY.
	Forward ForwardConfig `yaml:"forward"`
	// File of the vault key: a passphrase of at least 12 characters, or `base64:` and 32
	// bytes. Default: a key file is made in the data folder.
	VaultKeyFile string `yaml:"vaultKeyFile"`
	// File of the admin token, at least 32 characters. Default: `admin.token` is made in the
	// data folder.
	AdminTokenFile string `yaml:"adminTokenFile"`
	// Who may register an agent. `admin`: whoever has `keeper:write`; `approval`: anyone,
	// who then waits with no grant; `open`: anyone, with every listener on loopback. Values:
	// `admin`, `approval`, `open`. Default: `admin`.
	Registration string `yaml:"registration"`
	// The scopes that open registration grants. Default: `[openai:chat, github:read]`.
	DefaultScopes []string `yaml:"defaultScopes"`
	// Providers to add, or to change field by field.
	Providers []policy.Provider `yaml:"providers"`
	// Base URL by provider's name. One that is unknown exists once it has one. Addresses
	// named here may be private.
	ProviderURLs map[string]string `yaml:"providerURLs"`
	// Listen address by provider's name: a listener whose root is the provider's root. With
	// `https://` before it, it speaks TLS by keeper's own authority (`ca.pem`) in any case:
	// gh wants that.
	ProviderListen map[string]string `yaml:"providerListen"`
	// Secrets that the vault does not keep, since their values come from elsewhere.
	Secrets []SecretConfig `yaml:"secrets"`
	// Where secrets can come from, beside variables and files.
	Sources SourcesConfig `yaml:"sources"`
	// What is done with what a rule finds, by the rule's id. `block`: a request is refused,
	// an answer redacted; `redact`: only answers; `warn`: only recorded; `allow`: nothing.
	// `vault-match` stands for the vault's own values, and cannot be allowed. Values:
	// `block`, `redact`, `warn`, `allow`. Default: by the finding's confidence.
	Scan map[string]string `yaml:"scan"`
	// Rules of your own, beside the built-in ones.
	ScanRules []ScanRule `yaml:"scanRules"`
	// What callers can take.
	Limits LimitsConfig `yaml:"limits"`
	// What callers may use, in a time and at once.
	Quotas []QuotaConfig `yaml:"quotas"`
	// Issuers whose tokens are exchanged for keeper's, so that their subjects need no
	// secret.
	Trust []TrustConfig `yaml:"trust"`
	// How people get to the dashboard.
	Dashboard DashboardConfig `yaml:"dashboard"`
	// What becomes of the audit log, beside being kept in the data folder.
	Audit AuditConfig `yaml:"audit"`
	// Web origins whose pages may call keeper, such as `https://ops.example.com`.
	AllowedOrigins []string `yaml:"allowedOrigins"`
	// Where spans of calls go.
	Traces TracesConfig `yaml:"traces"`
	// How keeper logs to standard error.
	Log LogConfig `yaml:"log"`

	text []byte // of the file
}

// TLSConfig says how agents' connections are protected. One of CertFile with
// KeyFile, OwnCA and EndsBefore is enough.
type TLSConfig struct {
	// PEM file of the certificate, with those that vouch for it. It needs `tls.keyFile`.
	CertFile string `yaml:"certFile"`
	// PEM file of its key.
	KeyFile string `yaml:"keyFile"`
	// Keeper makes an authority in the data folder, and agents trust its `ca.pem`.
	OwnCA bool `yaml:"ownCA"`
	// Further host names and addresses for the certificate of `tls.ownCA`.
	Names []string `yaml:"names"`
	// A proxy in front ends TLS, and nothing else can reach keeper.
	EndsBefore bool `yaml:"endsBefore"`
}

// ForwardConfig says what keeper is as a proxy.
type ForwardConfig struct {
	// Keeper is no proxy (`HTTPS_PROXY`) on `addr`.
	Off bool `yaml:"off"`
	// The authority that proxied clients trust (`ca.pem`) is good for the hosts of providers
	// alone, by name constraints; where these change, so does its certificate. Hosts that
	// are not known are then refused before TLS, which clients show less clearly.
	Closed bool `yaml:"closed"`
}

// LimitsConfig bounds what callers can take. Durations are written 30s, 10m.
type LimitsConfig struct {
	// Largest request body, in bytes. Default: `67108864`.
	BodyBytes int64 `yaml:"bodyBytes"`
	// Largest message of a WebSocket or of gRPC, in bytes, either way. Default: `16777216`.
	MessageBytes int64 `yaml:"messageBytes"`
	// Failed authentications that one address may make in a second. Default: `200`.
	AuthFailuresPerSecond int `yaml:"authFailuresPerSecond"`
	// How long a provider may be silent before its answer begins. Default: `10m`.
	ResponseHeader time.Duration `yaml:"responseHeader"`
	// After how long a silence a side of a WebSocket is asked for a sign of life. Default:
	// `30s`.
	IdlePing time.Duration `yaml:"idlePing"`
	// How long calls are served as before once keeper is told to stop, while `/readyz` says
	// that no more should be sent here. Default: `0s`.
	Drain time.Duration `yaml:"drain"`
	// How long calls in flight may go on once keeper is told to stop. Default: `30s`.
	Stop time.Duration `yaml:"stop"`
}

// LogConfig says how keeper logs.
type LogConfig struct {
	// From which level on lines go to standard error. Values: `debug`, `info`, `warn`,
	// `error`. Default: `info`.
	Level string `yaml:"level"`
	// The flag `--log-format` overrides it. Values: `text`, `json`. Default: `text`.
	Format string `yaml:"format"`
	// A line for each call to a provider, without its path.
	Access bool `yaml:"access"`
}

// loadConfig reads a configuration file. Its errors name the line and, for an
// unknown key, the nearest known one.
func loadConfig(file string) (Config, error) {
	var c Config
	if file == "" {
		return c, nil
	}
	text, err := readFile(file, maxConfigBytes)
	if err != nil {
		return c, fmt.Errorf("reading the configuration: %w", err)
	}
	err = yaml.UnmarshalWithOptions(text, &c, yaml.Strict())
	if err == nil {
		c.text = text
		return c, nil
	}
	return c, misread(file, err)
}

// misread says what is wrong with a configuration file, and where. It takes
// the library's message alone: the full error quotes lines of the file.
func misread(file string, err error) error {
	if strings.HasPrefix(err.Error(), "time: ") {
		return fmt.Errorf("%s: staleness, limits, quotas, audit, secrets or sources: want durations with their unit, such as 30s or 1h30m", file)
	}
	var detail yaml.Error
	if !errors.As(err, &detail) || detail.GetToken() == nil {
		return fmt.Errorf("reading %s: it is no YAML mapping of keeper's keys", file)
	}
	at, message := detail.GetToken(), detail.GetMessage()
	key := ""
	if colon := at.Prev; colon != nil && colon.Type == token.MappingValueType && colon.Prev != nil {
		key = colon.Prev.Value + ": "
	}
	var unknown *yaml.UnknownFieldError
	var mistyped *yaml.TypeError
	var tooLarge *yaml.OverflowError
	var misplaced *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &unknown):
		message = fmt.Sprintf("unknown key %q", at.Value)
		if near := nearest(at.Value, keysOf(reflect.TypeFor[Config]())); near != "" {
			message += fmt.Sprintf("; did you mean %q?", near)
		}
	case errors.As(err, &mistyped):
		message = key + "want " + described(mistyped.DstType)
	case errors.As(err, &tooLarge):
		message = key + "it is too large a number"
	case errors.As(err, &misplaced):
		message = fmt.Sprintf("%swant a %s, not a %s", key, misplaced.Expected.YAMLName(), misplaced.Actual.YAMLName())
	}
	return fmt.Errorf("%s, line %d: %s", file, at.Position.Line, message)
}

// described says in words what a value of the type looks like.
func described(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return "a duration with its unit, such as 30s or 10m"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a sequence"
	case reflect.Map, reflect.Struct:
		return "a mapping"
	}
	return "a text"
}

// check refuses values that would mean something else than they say.
func (c Config) check() error {
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"bodyBytes", c.Limits.BodyBytes}, {"messageBytes", c.Limits.MessageBytes}, {"idlePing", int64(c.Limits.IdlePing)}, {"authFailuresPerSecond", int64(c.Limits.AuthFailuresPerSecond)},
		{"responseHeader", int64(c.Limits.ResponseHeader)}, {"stop", int64(c.Limits.Stop)}, {"drain", int64(c.Limits.Drain)},
	} {
		if limit.value < 0 {
			return fmt.Errorf("limits.%s: it is below zero; leave it out for the default", limit.name)
		}
	}
	if err := server.CheckStore(c.Store); err != nil {
		return err
	}
	if err := c.Audit.check(); err != nil {
		return err
	}
	if err := c.checkSecrets(); err != nil {
		return err
	}
	if len(c.TLS.Names) > 0 && !c.TLS.OwnCA {
		return errors.New("tls.names: they are for the certificate that keeper makes; set tls.ownCA as well, or leave them out")
	}
	for _, rule := range slices.Sorted(maps.Keys(c.Scan)) {
		switch scanner.Action(c.Scan[rule]) {
		case scanner.Block, scanner.Redact, scanner.Warn, scanner.Allow:
		default:
			return fmt.Errorf("scan.%s: want block, redact, warn or allow", rule)
		}
	}
	return nil
}

// keysOf returns the YAML keys of a struct and of the structs in it, but for those
// that it is within.
func keysOf(t reflect.Type, within ...reflect.Type) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return keysOf(t.Elem(), within...)
	case reflect.Struct:
	default:
		return nil
	}
	if slices.Contains(within, t) {
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("yaml"); key != "" {
			keys = append(append(keys, key), keysOf(t.Field(i).Type, append(within, t)...)...)
		}
	}
	return keys
}

// nearest returns the candidate that is the fewest edits away, or "" where
// none is near enough to be meant.
func nearest(word string, candidates []string) string {
	best, fewest := "", 1+len(word)/3
	for _, candidate := range candidates {
		if n := edits(strings.ToLower(word), strings.ToLower(candidate)); n <= fewest && (best == "" || n < fewest) {
			best, fewest = candidate, n
		}
	}
	return best
}

// edits is the Levenshtein distance of two texts, in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// check returns the level that is asked for.
func (c LogConfig) check() (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(cmp.Or(c.Level, "info"))); err != nil {
		return level, errors.New("log.level: want debug, info, warn or error")
	}
	if !slices.Contains([]string{"", "text", "json"}, c.Format) {
		return level, errors.New("log.format: want text or json")
	}
	return level, nil
}
