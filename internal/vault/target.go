package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/superinstance/keeper/internal/secret"
)

// maxNesting bounds values within values: a URL in a query in a JSON document.
const maxNesting = 4

// targets returns the texts that v is known by, each once: the whole of v, the
// parts of a value that has structure and whose parts travel alone, and the
// telling runs of these. There is none where no part can be told from ordinary
// text.
func targets(v secret.Value) []secret.Value {
	value := string(v.Expose())
	parts := tellingParts(value)
	if len(parts) == 0 {
		return nil
	}
	var all []secret.Value
	seen := map[string]bool{}
	add := func(text string) {
		if !seen[text] {
			seen[text] = true
			all = append(all, secret.New([]byte(text)))
		}
	}
	if len(value) <= maxTarget && (parts[0] == value || !strings.ContainsFunc(value, isBreak)) {
		add(value)
	}
	for _, part := range parts {
		for _, text := range lengths(part) {
			add(text)
		}
	}
	return all
}

// tellingParts returns the parts of value that can be told from ordinary text,
// and may be secret if any of them may, and the telling runs of each.
func tellingParts(value string) (all []string) {
	private, public := pieces(value)
	for _, parts := range [][]string{private, public} {
		for _, part := range parts {
			runs := runsOf(part)
			if len(runs) > 0 && !strings.ContainsFunc(part, isBreak) {
				all = append(all, part)
			}
			all = append(all, runs...)
		}
		if len(all) > 0 {
			return all
		}
	}
	if strings.Contains(value, "://") { // the host of a URL is not telling
		return nil
	}
	return runsOf(value)
}

// runsOf returns the texts of tellingRuns.
func runsOf(s string) (all []string) {
	for _, r := range tellingRuns([]byte(s)) {
		all = append(all, s[r.start:r.end])
	}
	return all
}

// The scanner holds back 16 KiB of a run that goes on. A text of maxTarget bytes
// is shorter than that in two layers of JSON escapes, each character escaped; of
// a longer one each length is known.
const (
	maxTarget   = 440
	lengthBytes = maxTarget / 2
)

// lengths cuts a long part into telling lengths; a short one is its own only one.
func lengths(part string) (all []string) {
	if len(part) <= maxTarget {
		return []string{part}
	}
	for len(part) > maxTarget {
		all, part = append(all, part[:lengthBytes]), part[lengthBytes:]
	}
	all = append(all, part)
	return slices.DeleteFunc(all, func(s string) bool { return len(runsOf(s)) == 0 })
}

// A part is what stands between the marks of a value's structure.
type part struct {
	text string
	role role
}

// role says what a part is by its name or place.
type role uint8

const (
	inherits   role = iota // what it is part of decides
	isPublic               // no secret where another part may be: a user, a project
	isPassword             // secret even within a part that is public
)

func publicIf(public bool) role {
	if public {
		return isPublic
	}
	return inherits
}

// pieces takes a value apart as far as it has structure. A value without any is
// its own only piece.
func pieces(value string) (private, public []string) {
	var take func(p part, depth int)
	take = func(p part, depth int) {
		parts := []part{p}
		if depth < maxNesting {
			parts = partsOf(p.text)
		}
		for _, inner := range parts {
			if inner.role == inherits {
				inner.role = p.role
			}
			switch {
			case inner.text != p.text:
				take(inner, depth+1)
			case inner.role == isPublic:
				public = append(public, inner.text)
			default:
				private = append(private, inner.text)
			}
		}
	}
	take(part{text: value}, 0)
	return private, public
}

// hasStructure reports whether value has more pieces than itself.
func hasStructure(value string) bool {
	private, public := pieces(value)
	return len(private)+len(public) != 1
}

// partsOf takes off one layer: a JSON document, a PEM block, a URL, fields, a name
// and a password, or base64 of any of them.
func partsOf(value string) []part {
	switch {
	case isDocument(value):
		return documentParts(value)
	case strings.Contains(value, pemBegin):
		return pemParts(value)
	case strings.Contains(value, "://") && !strings.ContainsFunc(value, isBlank):
		return urlParts(value)
	case strings.ContainsFunc(value, isSeparator):
		return fields(value)
	case strings.Contains(value, ":"):
		return colonParts(value)
	}
	whole := []part{{text: value}}
	if decoded, ok := decodedText(value); ok {
		return append(whole, part{text: decoded})
	}
	return whole
}

// decodedText is the text that value is the base64 of, such as a document that
// was made fit for an environment, or a name and a password.
func decodedText(value string) (string, bool) {
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		decoded, err := e.DecodeString(strings.TrimRight(value, "="))
		if err == nil && len(decoded) >= minNeedle && bytes.IndexFunc(decoded, isBinary) < 0 {
			return string(decoded), true
		}
	}
	return "", false
}

func isBinary(r rune) bool { return r > '~' || isControl(r) && !unicode.IsSpace(r) }

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func isBlank(r rune) bool { return r == ' ' || isControl(r) }

// isSeparator reports whether r stands between the fields of a value.
func isSeparator(r rune) bool { return isStrongSeparator(r) || isBreak(r) }

func isStrongSeparator(r rune) bool { return r == ';' || r == '&' || r == '\n' || r == '\r' }

// isBreak reports whether r ends the run that the scanner holds back while a
// stream goes on. What a stream may cut in two is known by its parts alone.
func isBreak(r rune) bool { return isBlank(r) || r > '~' || strings.ContainsRune("\"'`<>(){}[],", r) }

// isDocument reports whether value is a JSON object or array.
func isDocument(value string) bool {
	begin := strings.TrimLeft(value, " \t\r\n")
	return begin != "" && (begin[0] == '{' || begin[0] == '[') && json.Valid([]byte(value))
}

// documentParts returns the strings of a document, names of members left out.
func documentParts(document string) (all []part) {
	var root any
	if json.Unmarshal([]byte(document), &root) != nil {
		return nil
	}
	var walk func(node any, public bool)
	walk = func(node any, public bool) {
		switch node := node.(type) {
		case string:
			all = append(all, part{node, publicIf(public)})
		case []any:
			for _, child := range node {
				walk(child, public)
			}
		case map[string]any:
			_, isKey := node["kty"] // a JSON Web Key, RFC 7517
			for name, child := range node {
				walk(child, public || isPublicName(name) || isKey && !slices.Contains(privateKeyParameters, name))
			}
		}
	}
	walk(root, false)
	return all
}

// privateKeyParameters are those of RFC 7518, section 6, that are secret.
var privateKeyParameters = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "r", "t", "k"}

// isPublicName reports whether a field of that name holds what is no secret
// where another field does.
func isPublicName(name string) bool {
	plain := strings.Map(func(r rune) rune {
		if isLetter(r) || isDigit(r) {
			return r | 0x20
		}
		return -1
	}, name)
	return publicNames[plain]
}

var publicNames = func() map[string]bool {
	all := map[string]bool{}
	for name := range strings.FieldsSeq(`
		type projectid projectnumber quotaprojectid privatekeyid clientid clientemail authuri tokenuri
		authproviderx509certurl clientx509certurl universedomain redirecturis javascriptorigins scope scopes tokentype issuer
		tenantid subscriptionid accountid accountname sharedaccesskeyname entitypath region
		host hostname server address datasource endpoint port driver
		database db dbname databasename initialcatalog schema keyspace cluster applicationname
		user username userid uid login email kid keyid
		accesskeyid rolearn appid installationid version expiration`) {
		all[name] = true
	}
	return all
}()

const (
	pemBegin  = "-----BEGIN "
	pemEnd    = "-----END "
	pemDashes = "-----"
	// openSSHBegin is the magic of an OpenSSH key in base64. The rest of its
	// first line is the same in all keys of a kind.
	openSSHBegin = "b3BlbnNzaC1rZXktdjE"
)

// pemParts returns the lines of PEM blocks (RFC 7468), and each block's lines as
// one, for lines of another length. What stands outside of blocks is a part itself.
// Line ends may be written as in JSON, or as spaces: environments often hold no
// others.
func pemParts(value string) (all []part) {
	value = strings.ReplaceAll(value, `\n`, "\n")
	for {
		outside, block, found := strings.Cut(value, pemBegin)
		all = append(all, part{text: outside})
		if !found {
			return all
		}
		label, block, _ := strings.Cut(block, pemDashes)
		body, rest, _ := strings.Cut(block, pemEnd)
		_, value, _ = strings.Cut(rest, pemDashes)
		public := strings.Contains(label, "CERTIFICATE") || strings.Contains(label, "PUBLIC")
		all = append(all, blockParts(body, public)...)
	}
}

// blockParts returns the lines of one block without its marks.
func blockParts(body string, public bool) (all []part) {
	var joined strings.Builder
	for line := range strings.Lines(body) {
		if strings.Contains(line, ":") { // a header, RFC 1421
			all = append(all, part{line, publicIf(public)})
			continue
		}
		for text := range strings.FieldsFuncSeq(line, isBlank) {
			all = append(all, part{text, publicIf(public || strings.HasPrefix(text, openSSHBegin))})
			joined.WriteString(text)
		}
	}
	return append(all, part{joined.String(), publicIf(public)})
}

// urlParts returns what of a URL may be secret, decoded: all but its scheme
// and host. A text that is no URL is its own part.
func urlParts(text string) []part {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return brokenURLParts(text)
	}
	password, set := u.User.Password()
	parts := []part{{u.User.Username(), publicIf(set && len(runsOf(password)) > 0)}, {password, isPassword}, {text: u.Fragment}}
	parts = append(parts, pathParts(u.Path)...)
	for field := range strings.FieldsFuncSeq(u.RawQuery, isSeparator) {
		name, value, _ := strings.Cut(field, "=")
		// A plus sign may stand for itself or for a space.
		for _, decode := range []func(string) (string, error){url.PathUnescape, url.QueryUnescape} {
			if decoded, err := decode(value); err == nil {
				parts = append(parts, part{decoded, publicIf(isPublicName(name))})
			}
		}
	}
	return parts
}

const (
	strongRun = 20 // characters of a path's segment that is a key
	weakRun   = 12 // below it: an id, where there is a key
)

// pathParts returns the segments of a path. The ids in a webhook's address are
// public beside its key.
func pathParts(path string) (all []part) {
	segments := strings.Split(path, "/")
	strong := slices.ContainsFunc(segments, func(s string) bool { return len(s) >= strongRun && len(runsOf(s)) > 0 })
	for _, s := range segments {
		all = append(all, part{s, publicIf(strong && len(s) < weakRun)})
	}
	return all
}

// brokenURLParts takes apart what has the looks of a URL and is none, since its
// password holds characters that should be encoded, or it names several hosts.
func brokenURLParts(text string) []part {
	if strings.ContainsFunc(text, isBreak) {
		return fields(text)
	}
	_, rest, _ := strings.Cut(text, "://")
	at := strings.LastIndexByte(rest, '@')
	user, password, found := strings.Cut(rest[:max(at, 0)], ":")
	if !found || len(runsOf(password)) == 0 {
		return fields(text)
	}
	_, path, _ := strings.Cut(rest[at+1:], "/")
	return append([]part{{user, isPublic}, {password, isPassword}}, pathParts(path)...)
}

// fields splits at separators, and takes name= off what follows it. Names hold
// spaces where another character stands between fields.
func fields(text string) (all []part) {
	separates := isSeparator
	if strings.ContainsFunc(text, isStrongSeparator) {
		separates = isStrongSeparator
	}
	for field := range strings.FieldsFuncSeq(text, separates) {
		name, rest, found := strings.Cut(field, "=")
		if found && isOrdinary(name) && strings.Trim(rest, "=") != "" {
			all = append(all, part{rest, publicIf(isPublicName(name))})
		} else {
			all = append(all, part{text: field})
		}
	}
	return all
}

// colonParts splits a name from a password, or whatever colons stand between.
func colonParts(text string) (all []part) {
	for i, s := range strings.Split(text, ":") {
		_, host, found := strings.Cut(s, "@")
		all = append(all, part{s, publicIf(i == 0 && found && isHost(host))})
	}
	return all
}
