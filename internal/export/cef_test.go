package export_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/superinstance/keeper/internal/export"
)

// cefKeys are the keys that keeper uses, with their types and lengths, from the
// extension dictionary of "Implementing ArcSight Common Event Format (CEF)",
// version 26.
var cefKeys = map[string]struct {
	typ   string
	limit int
}{
	"act": {"text", 63}, "c6a2": {"ipv6", 0}, "c6a2Label": {"text", 1023}, "cat": {"text", 1023},
	"cn1": {"long", 0}, "cn1Label": {"text", 1023}, "cn2": {"long", 0}, "cn2Label": {"text", 1023},
	"cn3": {"long", 0}, "cn3Label": {"text", 1023}, "cnt": {"long", 0},
	"cs1": {"text", 4000}, "cs1Label": {"text", 1023}, "cs2": {"text", 4000}, "cs2Label": {"text", 1023},
	"cs3": {"text", 4000}, "cs3Label": {"text", 1023}, "cs4": {"text", 4000}, "cs4Label": {"text", 1023},
	"cs5": {"text", 4000}, "cs5Label": {"text", 1023}, "cs6": {"text", 4000}, "cs6Label": {"text", 1023},
	"destinationServiceName": {"text", 1023}, "duid": {"text", 1023}, "duser": {"text", 1023},
	"dvchost": {"text", 100}, "externalId": {"text", 40}, "in": {"long", 0}, "out": {"long", 0},
	"outcome": {"text", 63}, "reason": {"text", 1023}, "request": {"text", 1023}, "requestMethod": {"text", 1023},
	"rt": {"long", 0}, "shost": {"text", 1023}, "src": {"ipv4", 0}, "suid": {"text", 1023}, "suser": {"text", 1023},
}

var (
	cefLine   = regexp.MustCompile(`^CEF:0((?:\|(?:[^\\|]|\\[\\|])*){6})\|(.*)$`)
	cefField  = regexp.MustCompile(`\|(?:[^\\|]|\\.)*`)
	cefKey    = regexp.MustCompile(`(?:^| )([A-Za-z0-9]+)=`)
	cefCustom = regexp.MustCompile(`^c(s|n|6a)\d$`)
	cefText   = regexp.MustCompile(`^(?:[^\\=]|\\[\\=nr])*$`)
	cefUndo   = strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\n`, "\n", `\r`, "\r", `\|`, `|`)
)

// parseCEF reads a line as the standard has it: six fields of a header, and keys
// each of which stands behind a space.
func parseCEF(line string) (header []string, keys map[string]string, err error) {
	m := cefLine.FindStringSubmatch(line)
	if m == nil {
		return nil, nil, fmt.Errorf("no header in %q", line)
	}
	for _, field := range cefField.FindAllString(m[1], -1) {
		header = append(header, cefUndo.Replace(field[1:]))
	}
	keys = map[string]string{}
	places := cefKey.FindAllStringSubmatchIndex(m[2], -1)
	for i, p := range places {
		end := len(m[2])
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		key, value := m[2][p[2]:p[3]], m[2][p[1]:end]
		if _, twice := keys[key]; twice || !cefText.MatchString(value) || i == 0 && p[0] != 0 {
			return nil, nil, fmt.Errorf("key %s is there twice or has a bad value %q", key, value)
		}
		keys[key] = cefUndo.Replace(value)
	}
	return header, keys, nil
}

// checkCEF returns the header and keys in line, and what in them is not as the
// standard has it.
func checkCEF(line []byte) (header []string, keys map[string]string, problems []string) {
	header, keys, err := parseCEF(string(line))
	if err != nil {
		return nil, nil, []string{err.Error()}
	}
	if s, err := strconv.Atoi(header[5]); (err != nil || s < 0 || s > 10) && header[5] != "Unknown" {
		problems = append(problems, "severity is "+header[5])
	}
	for key, value := range keys {
		if def, known := cefKeys[key]; !known || !cefIs(def.typ, value) || def.limit > 0 && utf8.RuneCountInString(value) > def.limit {
			problems = append(problems, fmt.Sprintf("%s is %q, want %v", key, value, def))
		}
		if cefCustom.MatchString(key) && keys[key+"Label"] == "" {
			problems = append(problems, key+" has no label")
		}
	}
	return header, keys, problems
}

func cefIs(typ, value string) bool {
	switch typ {
	case "long":
		_, err := strconv.ParseInt(value, 10, 64)
		return err == nil
	case "ipv4", "ipv6":
		a, err := netip.ParseAddr(value)
		return err == nil && a.Is4() == (typ == "ipv4")
	}
	return value != ""
}

func TestCEFFitsTheDictionary(t *testing.T) {
	each(t, export.CEF, func(t *testing.T, s sample, line []byte) {
		header, _, problems := checkCEF(line)
		if len(problems) > 0 {
			t.Errorf("%s\nin %s", strings.Join(problems, "\n"), line)
		}
		if header[1] != "keeper" || header[2] != "1.2.3" || header[3] != s.event {
			t.Errorf("got the header %q", header)
		}
	})
}

func TestCEFSaysWhatHappened(t *testing.T) {
	want := map[string]map[string]string{
		"forwarded call": {"rt": "1795498589123", "externalId": "1", "suser": "ci-bot", "suid": "ci-bot", "src": "10.1.2.3",
			"requestMethod": "POST", "request": "/v1/chat/completions", "act": "forward", "outcome": "success", "out": "812",
			"destinationServiceName": "openai", "cs1": "req_0123", "cs2": "openai:chat", "cs3": "main", "cs4": "password-field", "cs5": "jti-1", "cn2": "0"},
		"refused call":        {"act": "refuse", "reason": "token_missing", "outcome": "failure", "c6a2": "2001:db8::7", "cnt": "41"},
		"complete answer":     {"cn1": "200", "cn3": "1503", "in": "4711"},
		"blocked request":     {"cs4": "openai-key password-field", "cat": "intrusion_detection", "cn2": "2"},
		"agent disabled":      {"suser": "admin token", "duser": "ci-bot", "cs6": "disabled"},
		"stranger at a route": {"request": "GET /api/v1/vault", "reason": "token_invalid"},
		"event of tomorrow":   {"shost": "socket"},
		"hostile path": {"request": "=a\\b|c=d \"q\", 'x'" + `\u000d` + "\n" + `\u001b[31m\u0009\u0085\u009b\u2028\u202e\u0000` + " outcome=success é😀",
			"outcome": "success", "requestMethod": `GET\u000d` + "\nX"},
	}
	each(t, export.CEF, func(t *testing.T, s sample, line []byte) {
		_, keys, _ := checkCEF(line)
		for key, w := range want[s.name] {
			if keys[key] != w {
				t.Errorf("%s: got %q, want %q", key, keys[key], w)
			}
		}
	})
}

func TestCEFKeepsToTheLengthsOfItsKeys(t *testing.T) {
	long := strings.Repeat("é\x1b=\n", 3000)
	e := sample{event: "proxy.request", agent: long, provider: long, source: long, by: "x" + long, details: map[string]any{
		"path": long, "method": long, "decision": long, "code": long, "scope": long, "label": long, "jti": long, "status": long,
	}}.entry(t, 1)
	_, keys, problems := checkCEF(export.CEF.Append(nil, e, export.Producer{Host: long}))
	if len(problems) > 0 || !strings.HasPrefix(keys["request"], `é\u001b=`+"\n") {
		t.Errorf("got %v", problems)
	}
}

func TestCEFHeaderCannotBeForged(t *testing.T) {
	e := samples[0].entry(t, 1)
	e.Event = `a|b\|9|` + "\n=x"
	header, _, problems := checkCEF(export.CEF.Append(nil, e, export.Producer{Version: `1|\`}))
	if len(problems) > 0 || header[3] != `a|b\|9|\u000a=x` || header[2] != `1|\` {
		t.Errorf("got %q, %v", header, problems)
	}
}
