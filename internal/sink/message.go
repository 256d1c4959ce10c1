package sink

import (
	"os"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/store"
)

// facilities are those of RFC 5424, table 1, by the names that receivers' own
// configurations use.
var facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7,
	"uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11, "ntp": 12, "audit": 13, "alert": 14, "clock": 15,
	"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// severities are those of RFC 5424, table 2, by an entry's risk: informational,
// warning, critical.
var severities = [...]int{6, 4, 2}

const (
	// structuredID names keeper's element. 32473 is the enterprise number that
	// RFC 5612 sets apart for those who have none of their own.
	structuredID = "keeper@32473"
	// RFC 3339 with as many digits as RFC 5424 allows.
	timeLayout = "2006-01-02T15:04:05.000000Z07:00"
)

// messages makes syslog messages as of RFC 5424.
type messages struct {
	format   export.Format
	producer export.Producer
	facility int
	host     string
	process  string
	one      []byte // the last message
}

func newMessages(c Config, s Spec) *messages {
	return &messages{
		format: s.format(), producer: c.producer(), facility: facilities[s.facility()],
		host: token(c.Host, 255), process: strconv.Itoa(os.Getpid()),
	}
}

// frame appends a message in the octet counting of RFC 6587 section 3.4.1, which is
// that of RFC 5425.
//
// MSG bears no byte order mark, so that it is MSG-ANY by the grammar: the line is
// UTF-8 all the same, and receivers that hand it on would hand on JSON that begins
// with a mark, which parsers refuse.
func (m *messages) frame(b []byte, e *store.AuditEntry) []byte {
	m.one = m.header(m.one[:0], e)
	m.one = m.format.Append(m.one, e, m.producer)
	b = strconv.AppendInt(b, int64(len(m.one)), 10)
	return append(append(b, ' '), m.one...)
}

func (m *messages) header(b []byte, e *store.AuditEntry) []byte {
	severity := severities[min(max(e.Risk, 0), len(severities)-1)]
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(m.facility*8+severity), 10)
	b = append(b, ">1 "...)
	b = e.Time.UTC().AppendFormat(b, timeLayout)
	for _, field := range []string{m.host, "keeper", m.process, token(e.Event, 32)} {
		b = append(append(b, ' '), field...)
	}
	b = append(b, " ["+structuredID+` entry="`...)
	b = strconv.AppendInt(b, e.Seq, 10)
	b = append(b, '"')
	if e.RequestID != "" {
		b = append(append(append(b, ` requestId="`...), parameter(e.RequestID)...), '"')
	}
	return append(b, "] "...)
}

// token is a text as a field of the header: printable ASCII, "-" for none.
func token(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	return text[:min(len(text), limit)]
}

var parameterEscapes = strings.NewReplacer(`"`, `\"`, `\`, `\\`, `]`, `\]`)

// parameter is a text as a PARAM-VALUE: UTF-8, in which three characters are escaped.
func parameter(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return parameterEscapes.Replace(text)
}
