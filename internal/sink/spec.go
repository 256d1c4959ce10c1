package sink

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/secret"
)

// Where a sink without a cursor begins.
const (
	fromStart = "start"
	fromNow   = "now"
)

// Spec is one sink, as the operator wants it. A field that is not of its type is an
// error where it is set.
type Spec struct {
	// Name is told in logs and Status, and names the cursor: under a new name a sink
	// begins anew. Lower-case letters, digits, ".", "_" and "-".
	Name string
	// Type is "file", "syslog", "webhook" or "alert".
	Type string
	// Format is that of a line. Empty: NDJSON. Not for alerts.
	Format export.Format
	// From is where it begins when it has no cursor: "start", the log's first entry,
	// or "now". Empty: start, for an alert now.
	From string
	// MinRisk is the least risk of entries that it takes: 0, 1 or 2. 0 of an alert
	// without Events stands for 2.
	MinRisk int
	// Events are those that it takes. Empty: all.
	Events []string

	// Path is where a file is. It is rotated before it grows over MaxBytes (0: 64 MiB;
	// at least 4 KiB), and, where MaxAge is not 0, before an entry of a new period:
	// periods are multiples of MaxAge in UTC, so 24 h means at midnight. Keep is how
	// many rotated files are left, 0: all.
	Path     string
	MaxBytes int64
	MaxAge   time.Duration
	Keep     int

	// Address is a syslog receiver's: tcp://host:port or tls://host:port. ServerName
	// is the name that its certificate must have, empty: Address's host. Facility is
	// by name, such as "local0", which is the default, or "audit".
	Address    string
	ServerName string
	Facility   string

	// URL is a webhook's or an alert's, or URLFile is the file that it stands in: it
	// may be a secret. It begins with https://, or with http:// on this machine.
	URL     secret.Value
	URLFile string
	// TokenFile has a bearer token for the webhook, SecretFile the key by which bodies
	// are signed. Files of secrets are read once, and white space around them is cut.
	TokenFile  string
	SecretFile string

	// CAFile has the certificates, in PEM, of those who may vouch for the receiver's.
	// Empty: the system's. For syslog over TLS, webhooks and alerts.
	CAFile string
}

// fieldError is a field of a Spec that cannot be as it is, and what to do.
type fieldError struct {
	field string
	mend  string
}

func (e *fieldError) Error() string { return e.field + ": " + e.mend }

func wrong(field, mend string, args ...any) error {
	return &fieldError{field, fmt.Sprintf(mend, args...)}
}

// types are the kinds of sinks.
var types = map[string]struct {
	fields []string // that are its own
	make   func(c Config, s Spec) (carrier, error)
}{
	"file":    {[]string{"format", "path", "maxBytes", "maxAge", "keep"}, newFile},
	"syslog":  {[]string{"format", "address", "serverName", "facility", "caFile"}, newSyslog},
	"webhook": {[]string{"format", "url", "urlFile", "tokenFile", "secretFile", "caFile"}, newWebhook},
	"alert":   {[]string{"url", "urlFile", "caFile"}, newAlert},
}

// own are the fields that are set and not every type's.
func (s Spec) own() (set []string) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"format", s.Format != ""},
		{"path", s.Path != ""}, {"maxBytes", s.MaxBytes != 0}, {"maxAge", s.MaxAge != 0}, {"keep", s.Keep != 0},
		{"address", s.Address != ""}, {"serverName", s.ServerName != ""}, {"facility", s.Facility != ""},
		{"url", s.URL.Len() > 0}, {"urlFile", s.URLFile != ""},
		{"tokenFile", s.TokenFile != ""}, {"secretFile", s.SecretFile != ""}, {"caFile", s.CAFile != ""},
	} {
		if f.set {
			set = append(set, f.name)
		}
	}
	return set
}

func (s Spec) from() string {
	switch {
	case s.From != "":
		return s.From
	case s.Type == "alert":
		return fromNow
	}
	return fromStart
}

// format is the Spec's, which has no header and puts an entry on one line.
func (s Spec) format() export.Format {
	if s.Format == "" {
		return export.NDJSON
	}
	return s.Format
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// check makes the carriers of all Specs, without touching the network.
func check(c Config) ([]carrier, error) {
	if c.Log == nil || c.Cursors == nil {
		return nil, errors.New("opening the audit sinks: no log or no cursors")
	}
	names, paths := map[string]bool{}, map[string]bool{}
	carriers := make([]carrier, len(c.Sinks))
	for i, s := range c.Sinks {
		err := s.check()
		if err == nil {
			carriers[i], err = types[s.Type].make(c, s)
		}
		if f, ok := carriers[i].(*file); err == nil && ok {
			if paths[f.path] {
				err = wrong("path", "another sink writes to it; name another file")
			}
			paths[f.path] = true
		}
		if err == nil && names[s.Name] {
			err = wrong("name", "another sink has it; choose another name")
		}
		if err != nil {
			return nil, fmt.Errorf("audit.sinks[%d].%w", i, err)
		}
		names[s.Name] = true
	}
	return carriers, nil
}

// check looks at what all types have.
func (s Spec) check() error {
	kind, known := types[s.Type]
	switch {
	case !nameForm.MatchString(s.Name):
		return wrong("name", "must be 1 to 64 lower-case letters, digits, dots, underscores or hyphens, such as siem")
	case !known:
		return wrong("type", "must be file, syslog, webhook or alert")
	case s.from() != fromStart && s.from() != fromNow:
		return wrong("from", "must be start or now")
	case s.MinRisk < 0 || s.MinRisk > 2:
		return wrong("minRisk", "must be 0, 1 or 2")
	case !slices.Contains([]export.Format{export.NDJSON, export.OCSF, export.ECS, export.CEF}, s.format()):
		return wrong("format", "must be ndjson, ocsf, ecs or cef: others are no lines that stand alone")
	}
	for _, field := range s.own() {
		if !slices.Contains(kind.fields, field) {
			return wrong(field, "is not for type %s; leave it out", s.Type)
		}
	}
	for i, event := range s.Events {
		if sentences[event] == nil {
			return wrong(fmt.Sprintf("events[%d]", i), "no event is named so; take one of %s", strings.Join(eventNames(), ", "))
		}
	}
	return nil
}

// readFile returns what is in the file that a field names, without white space around
// it.
func readFile(field, path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, wrong(field, "cannot be read (%v); mend the file or name another", err)
	}
	b = []byte(strings.TrimSpace(string(b)))
	if len(b) == 0 {
		return nil, wrong(field, "%s is empty; put the value in it", path)
	}
	return b, nil
}

// roots are the certificates that CAFile has; nil: the system's.
func (s Spec) roots() (*x509.CertPool, error) {
	if s.CAFile == "" {
		return nil, nil
	}
	b, err := readFile("caFile", s.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, wrong("caFile", "%s has no certificate in PEM; name a file that has", s.CAFile)
	}
	return pool, nil
}
