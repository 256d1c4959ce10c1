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
)

const maxConfigBytes = 1 << 20

// Config is the file of `keeper serve --config`. Every field may be left out;
// an unknown one stops the start. Variables of the environment override the
// file, and flags override both.
type Config struct {
	// Addr is the listen address, "127.0.0.1:8700" by default.
	Addr string `yaml:"addr"`
	// AdminAddr is a second listener for every route that agents do not need.
	AdminAddr string `yaml:"adminAddr"`
	// Data is the folder of the store and the keys; see `keeper --help`.
	Data string `yaml:"data"`
	// TLS must be given before keeper listens beyond loopback.
	TLS TLSConfig `yaml:"tls"`
	// Forward is keeper as the proxy of clients, by HTTPS_PROXY.
	Forward ForwardConfig `yaml:"forward"`
	// VaultKeyFile is a file that holds what KEEPER_VAULT_KEY would: a
	// passphrase, or "base64:" and 32 bytes. By default keeper makes a key file
	// in the data folder.
	VaultKeyFile string `yaml:"vaultKeyFile"`
	// AdminTokenFile holds the admin token, at least 32 characters. By default
	// keeper makes one in the data folder.
	AdminTokenFile string `yaml:"adminTokenFile"`
	// Registration is admin (the default), approval or open (loopback only).
	Registration string `yaml:"registration"`
	// DefaultScopes are granted by open registration: by default openai:chat
	// and github:read.
	DefaultScopes []string `yaml:"defaultScopes"`
	// Providers adds providers or changes the built-in ones, field by field.
	Providers []policy.Provider `yaml:"providers"`
	// ProviderURLs gives providers another base URL, as
	// KEEPER_PROXY_<PROVIDER>_URL does.
	ProviderURLs map[string]string `yaml:"providerURLs"`
	// ProviderListen gives providers a listener of their own, as
	// KEEPER_LISTEN_<PROVIDER> does.
	ProviderListen map[string]string `yaml:"providerListen"`
	// Secrets are those that the vault does not keep, since they come from elsewhere.
	Secrets []SecretConfig `yaml:"secrets"`
	// Sources are where Secrets can come from, beside variables and files.
	Sources SourcesConfig `yaml:"sources"`
	// Scan says what a rule of the scanner does: block, redact, warn or allow.
	Scan map[string]string `yaml:"scan"`
	// ScanRules are the operator's own rules of the scanner.
	ScanRules []ScanRule `yaml:"scanRules"`
	// Limits bound what callers can take.
	Limits LimitsConfig `yaml:"limits"`
	// Trust names issuers whose tokens are exchanged for keeper's, so that their
	// subjects need no secret.
	Trust []TrustConfig `yaml:"trust"`
	// Dashboard is how people get to the dashboard.
	Dashboard DashboardConfig `yaml:"dashboard"`
	// Audit is what becomes of the audit log, beside being kept in the data folder.
	Audit AuditConfig `yaml:"audit"`
	// AllowedOrigins are web origins that may call keeper from a browser.
	AllowedOrigins []string `yaml:"allowedOrigins"`
	// Traces are where spans of calls go.
	Traces TracesConfig `yaml:"traces"`
	// Log says how keeper logs to standard error.
	Log LogConfig `yaml:"log"`

	text []byte // of the file
}

// TLSConfig says how agents' connections are protected. One of CertFile with
// KeyFile, OwnCA and EndsBefore is enough.
type TLSConfig struct {
	// CertFile and KeyFile are PEM files.
	CertFile string `yaml:"certFile"`
	KeyFile  string `yaml:"keyFile"`
	// OwnCA makes a certificate authority in the data folder; agents trust its
	// ca.pem.
	OwnCA bool `yaml:"ownCA"`
	// Names are further host names and addresses for OwnCA's certificate.
	Names []string `yaml:"names"`
	// EndsBefore says that a proxy in front of keeper ends TLS, and that
	// nothing else can reach keeper.
	EndsBefore bool `yaml:"endsBefore"`
}

// ForwardConfig says what keeper is as a proxy.
type ForwardConfig struct {
	// Off: it is none.
	Off bool `yaml:"off"`
	// Closed has a certificate authority that is good for the providers' hosts alone.
	// Clients must trust it anew when these change.
	Closed bool `yaml:"closed"`
}

// LimitsConfig bounds what callers can take. Durations are written 30s, 10m.
type LimitsConfig struct {
	// BodyBytes is the largest request body, 64 MiB by default.
	BodyBytes int64 `yaml:"bodyBytes"`
	// MessageBytes is the largest message of a WebSocket or of gRPC, either way,
	// 16 MiB by default.
	MessageBytes int64 `yaml:"messageBytes"`
	// AuthFailuresPerSecond is how many failed authentications one address may
	// make in a second, 200 by default.
	AuthFailuresPerSecond int `yaml:"authFailuresPerSecond"`
	// ResponseHeader is how long a provider may think, 10m by default.
	ResponseHeader time.Duration `yaml:"responseHeader"`
	// IdlePing is after how long a silence a side of a WebSocket is asked for a sign
	// of life, 30s by default.
	IdlePing time.Duration `yaml:"idlePing"`
	// Drain is how long calls are served as before once keeper is told to stop, while
	// /readyz says that no more should be sent. Not at all by default.
	Drain time.Duration `yaml:"drain"`
	// Stop is how long streams may go on once keeper is told to stop, 30s by
	// default.
	Stop time.Duration `yaml:"stop"`
}

// LogConfig says how keeper logs.
type LogConfig struct {
	// Level is debug, info (the default), warn or error.
	Level string `yaml:"level"`
	// Format is text (the default) or json.
	Format string `yaml:"format"`
	// Access has a line for each call to a provider.
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
		return fmt.Errorf("%s: limits, audit, secrets or sources: want durations with their unit, such as 30s or 1h30m", file)
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

// logger returns the logger that the configuration asks for. It heeds the app's level.
func (a *app) logger(c LogConfig) (*slog.Logger, error) {
	level, err := c.check()
	if err != nil {
		return nil, err
	}
	a.level.Set(level)
	options := &slog.HandlerOptions{Level: a.level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.err, options)), nil
	}
	return slog.New(slog.NewTextHandler(a.err, options)), nil
}
