package fake

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ScenarioHeader is the request header by which a caller asks for a special
// answer: "key=value" pairs with semicolons between them.
//
//	error=429         the vendor's own error of that status
//	status=204        another status of a plain answer; below 200 and 204, 304 without a body
//	chunks=5          how many deltas a stream has
//	gate=name         every event of a stream waits for the Gate of that name
//	encoding=gzip     gzip, br, zstd, deflate; unknown: one that nobody can decode;
//	                  broken: gzip by its header only; truncated: gzip without its end
//	trailers=1        a declared trailer, X-Fake-Trailer
//	hints=1           a 103 before the answer
//	redirect=URL      302 to there
//	bytes=N           a body of N bytes, fill=random, json or text
//	echo=headers      the request's headers as JSON; echo=body: its body as it was;
//	                  echo=text: its body as the text of the vendor's answer
//	abort=N           the connection is reset after N events, or N bytes of a plain body
//	hang=N            nothing more after N events; hang=0: not even headers
//	leak=text         a secret in the answer's text; split: in pieces over the deltas;
//	                  header, trailer, error; several with commas
//	secret=name       which one: a planted value; else the vendor's key
//	form=base64       the secret as base64, base64url, hex, percent or json
//	shape=tool        the text as a tool call's arguments; of OpenAI and Anthropic
const ScenarioHeader = "X-Fake"

// scenario is a parsed ScenarioHeader.
type scenario map[string]string

func parseScenario(header string) scenario {
	s := scenario{}
	for pair := range strings.SplitSeq(header, ";") {
		if key, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
			s[key] = value
		}
	}
	return s
}

func (s scenario) has(key string) bool { _, ok := s[key]; return ok }

func (s scenario) number(key string, otherwise int) int {
	n, err := strconv.Atoi(s[key])
	if err != nil {
		return otherwise
	}
	return n
}

func (s scenario) leaks(where string) bool {
	return slices.Contains(strings.Split(s["leak"], ","), where)
}

// InForm writes a value in one of the forms of a scenario.
func InForm(form, value string) string {
	switch form {
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(value))
	case "base64url":
		return base64.RawURLEncoding.EncodeToString([]byte(value))
	case "hex":
		return hex.EncodeToString([]byte(value))
	case "percent":
		return eachByte(value, "%%%02X")
	case "json":
		return eachByte(value, `\u%04x`)
	}
	return value
}

func eachByte(value, format string) string {
	var out strings.Builder
	for _, b := range []byte(value) {
		fmt.Fprintf(&out, format, b)
	}
	return out.String()
}

// bodyless reports whether an answer of that status has no body.
func bodyless(status int) bool {
	return status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
}
