package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"strings"
	"unicode/utf8"
)

// operation is what a request body says to GraphQL.
type operation int

const (
	unread      operation = iota // the body has not been looked at
	onlyQueries                  // certainly nothing but queries
	mutation                     // anything else
)

// operations are the names that rules use.
var operations = map[string]operation{"query": onlyQueries, "mutation": mutation}

var errNotQuery = errors.New("not certainly a query")

// isQuery reports whether every server would find nothing but queries in the
// body. Whatever two servers could read differently is none: a batch, a
// duplicate or unknown key, a media type under which the body is no JSON.
func isQuery(mediaTypes []string, body []byte) bool {
	if !isJSONRequest(mediaTypes, body) || !utf8.Valid(body) {
		return false
	}
	document, err := graphQLDocument(body)
	return err == nil && onlyQueryOperations(document)
}

// isJSONRequest: without a type, or with curl's default one, servers try JSON
// as well as form fields; the body then must not fall into several fields.
func isJSONRequest(mediaTypes []string, body []byte) bool {
	if len(mediaTypes) == 0 {
		return !bytes.ContainsAny(body, "&;")
	}
	mediaType, parameters, err := mime.ParseMediaType(mediaTypes[0])
	if err != nil || len(mediaTypes) > 1 || strings.Contains(mediaTypes[0], ",") {
		return false
	}
	charset, given := parameters["charset"]
	if given && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	switch mediaType {
	case "application/json":
		return true
	case "application/x-www-form-urlencoded":
		return !bytes.ContainsAny(body, "&;")
	}
	return false
}

// graphQLDocument returns the one "query" of a request body.
func graphQLDocument(body []byte) (string, error) {
	fields, err := topLevelFields(body)
	if err != nil {
		return "", err
	}
	document := ""
	for name, raw := range fields {
		switch name {
		case "query":
			var text *string
			if json.Unmarshal(raw, &text) != nil || text == nil {
				return "", errNotQuery
			}
			document = *text
		case "operationName":
			if raw[0] != '"' && string(raw) != "null" {
				return "", errNotQuery
			}
		case "variables":
			if raw[0] != '{' && string(raw) != "null" {
				return "", errNotQuery
			}
		default:
			return "", errNotQuery
		}
	}
	return document, nil
}

// topLevelFields decodes an object whose keys are distinct, and nothing after.
func topLevelFields(body []byte) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, errNotQuery
	}
	fields := map[string]json.RawMessage{}
	for decoder.More() {
		key, err := decoder.Token()
		name, isString := key.(string)
		if _, twice := fields[name]; err != nil || !isString || twice {
			return nil, errNotQuery
		}
		var raw json.RawMessage
		if decoder.Decode(&raw) != nil || len(raw) == 0 {
			return nil, errNotQuery
		}
		fields[name] = raw
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errNotQuery
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errNotQuery
	}
	return fields, nil
}

// onlyQueryOperations reports whether a document holds queries and fragments
// alone, and at least one query. The words mutation and subscription must not
// stand in it at all, save in strings and comments: a field of that name is
// rare, and no quarrel about nesting can then hide an operation.
func onlyQueryOperations(document string) bool {
	tokens, err := lexGraphQL(document)
	if err != nil {
		return false
	}
	for _, t := range tokens {
		if t == "mutation" || t == "subscription" {
			return false
		}
	}
	queries := 0
	for len(tokens) > 0 {
		switch tokens[0] {
		case "{", "query":
			queries++
		case "fragment":
		default:
			return false
		}
		if tokens, err = afterDefinition(tokens); err != nil {
			return false
		}
	}
	return queries > 0
}

var closers = map[string]string{"{": "}", "(": ")", "[": "]"}

// afterDefinition returns the tokens behind the selection set that ends the
// definition at the head of tokens.
func afterDefinition(tokens []string) ([]string, error) {
	var open []string // the closers that are due
	selecting := false
	for i, t := range tokens {
		switch t {
		case "{", "(", "[":
			selecting = selecting || t == "{" && len(open) == 0
			open = append(open, closers[t])
		case "}", ")", "]":
			if len(open) == 0 || open[len(open)-1] != t {
				return nil, errNotQuery
			}
			open = open[:len(open)-1]
			if selecting && len(open) == 0 {
				return tokens[i+1:], nil
			}
		}
	}
	return nil, errNotQuery
}

// stringToken stands for every string and block string.
const stringToken = `"`

// lexGraphQL returns the document's tokens (October 2021 edition, section
// 2.1), strings without their content. Characters that lexers disagree about,
// other ends of a line than LF and CRLF among them, are an error.
func lexGraphQL(document string) ([]string, error) {
	document = strings.ReplaceAll(document, "\r\n", "\n")
	if strings.ContainsFunc(document, isDisputed) {
		return nil, errNotQuery
	}
	var tokens []string
	for rest := document; rest != ""; {
		length, err := tokenLength(rest)
		if err != nil {
			return nil, err
		}
		switch token := rest[:length]; token[0] {
		case ' ', '\t', '\n', ',', '#':
		case '"':
			tokens = append(tokens, stringToken)
		default:
			tokens = append(tokens, token)
		}
		rest = rest[length:]
	}
	return tokens, nil
}

func tokenLength(s string) (int, error) {
	switch c := s[0]; {
	case strings.IndexByte(" \t\n,", c) >= 0, strings.IndexByte("!$&()[]{}:=@|", c) >= 0:
		return 1, nil
	case strings.HasPrefix(s, "..."):
		return 3, nil
	case c == '#':
		line, _, _ := strings.Cut(s, "\n")
		return len(line), nil
	case strings.HasPrefix(s, `"""`):
		return blockStringLength(s)
	case c == '"':
		return stringLength(s)
	case isNameByte(c) || c == '-':
		return wordLength(s), nil
	}
	return 0, errNotQuery
}

func blockStringLength(s string) (int, error) {
	for i := 3; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], `\"""`):
			i += 3
		case strings.HasPrefix(s[i:], `"""`):
			return i + 3, nil
		}
	}
	return 0, errNotQuery
}

func stringLength(s string) (int, error) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) || strings.IndexByte(`"\/bfnrtu`, s[i]) < 0 {
				return 0, errNotQuery
			}
		case '"':
			return i + 1, nil
		case '\n':
			return 0, errNotQuery
		}
	}
	return 0, errNotQuery
}

// wordLength is that of a name or a number.
func wordLength(s string) int {
	i := 1
	for i < len(s) && (isNameByte(s[i]) || s[i] == '.' && s[0] <= '9' && !strings.HasPrefix(s[i:], "...")) {
		i++
	}
	return i
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isDisputed(r rune) bool {
	switch r {
	case '\t', '\n':
		return false
	case 0x7f, 0x85, 0x2028, 0x2029, 0xfeff, utf8.RuneError:
		return true
	}
	return r < ' '
}
