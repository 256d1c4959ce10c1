// Package export writes entries of the audit log in the formats that others read:
// its own JSON, CSV, and the three that systems for security events take. Its one
// invariant: whatever an entry holds, each is one line, and that line parses. It
// never reads the log itself, and imports neither the vault nor a database.
package export

import (
	"fmt"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// Format is how entries are written.
type Format string

// The formats. JSON and NDJSON hold the leaves of docs/audit-format.md, byte for
// byte, so that they alone can be verified; the others are for reading.
const (
	JSON   Format = "json"   // an array of the leaves
	NDJSON Format = "ndjson" // the leaves, a line each
	CSV    Format = "csv"    // RFC 4180, with a header line
	OCSF   Format = "ocsf"   // Open Cybersecurity Schema Framework, JSON
	ECS    Format = "ecs"    // Elastic Common Schema, JSON
	CEF    Format = "cef"    // ArcSight Common Event Format
)

// Producer is who writes the entries. Either field may be empty.
type Producer struct {
	Version string // of keeper
	Host    string // on which it runs
}

type appender func(b []byte, e *store.AuditEntry, p Producer) []byte

// formats is the one table of what differs between them, in the order of the help.
var formats = []struct {
	format      Format
	contentType string
	extension   string
	append      appender
}{
	{JSON, "application/json", "json", appendLeaf},
	{NDJSON, "application/x-ndjson", "ndjson", appendLeaf},
	{CSV, "text/csv; charset=utf-8", "csv", appendCSV},
	{OCSF, "application/x-ndjson", "ndjson", appendOCSF},
	{ECS, "application/x-ndjson", "ndjson", appendECS},
	{CEF, "text/plain; charset=utf-8", "log", appendCEF},
}

// Formats returns all formats, in the order of the help.
func Formats() []Format {
	all := make([]Format, len(formats))
	for i, f := range formats {
		all[i] = f.format
	}
	return all
}

// ParseFormat returns the format of that name. Its error names all there are.
func ParseFormat(name string) (Format, error) {
	names := make([]string, len(formats))
	for i, f := range formats {
		if string(f.format) == name {
			return f.format, nil
		}
		names[i] = string(f.format)
	}
	return "", fmt.Errorf("unknown format %q: it is one of %s", name, strings.Join(names, ", "))
}

// row is the index of f in formats. A Format that ParseFormat does not know is
// taken for NDJSON.
func (f Format) row() int {
	for i := range formats {
		if formats[i].format == f {
			return i
		}
	}
	return 1
}

// ContentType is the media type of a file in f.
func (f Format) ContentType() string { return formats[f.row()].contentType }

// Extension is what the name of a file in f ends with, without the dot.
func (f Format) Extension() string { return formats[f.row()].extension }

// Append appends e as one line without its line break and returns the extended
// slice. For JSON it is the same line as for NDJSON: the leaf, which holds the
// details as they are, and so is JSON if they are; the log writes no others. Of the
// other formats, details that cannot be read are left out. It keeps no reference to
// e and is safe for concurrent use.
func (f Format) Append(b []byte, e *store.AuditEntry, p Producer) []byte {
	return formats[f.row()].append(b, e, p)
}

func appendLeaf(b []byte, e *store.AuditEntry, _ Producer) []byte {
	return append(b, audit.Leaf(e)...)
}
