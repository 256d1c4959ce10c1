package scanner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/superinstance/keeper/internal/scanner"
)

// locations are those of what s finds in text, located.
func locations(tb testing.TB, s *scanner.Scanner, contentType, text string) []string {
	tb.Helper()
	found := scanBody(tb, s, text)
	s.Locate(strings.NewReader(text), contentType, found)
	list := make([]string, len(found))
	for i, f := range found {
		list[i] = f.Location
	}
	return list
}

func TestFindingsInJSONNameTheirPath(t *testing.T) {
	s, key := newScanner(t, scanner.Config{}), gitHubToken(1)
	for _, c := range []struct{ text, want string }{
		{`{"a":"%s"}`, "body.a"},
		{` { "messages" : [ {"role":"user"}, {"x":{}}, {"content" : "it is %s"} ] }`, "body.messages[2].content"},
		{`["one", [2, {"b": null}], "%s"]`, "body[2]"},
		{`{"a":{"b":[[],[[1,"%s"]]]}}`, "body.a.b[1][0][1]"},
		{`{"q\"}{":"\"}{[","b":"\\","c":"%s"}`, "body.c"},
		{`{"with space":{"a.b":{"na\u00efve":{"":"%s"}}}}`, `body["with space"]["a.b"].naïve[""]`},
		{`{"a":1}` + "\n" + `{"b":"%s"}`, "body[1].b"},
		{"\ufeff\r\n\t" + `{"a":"%s"}`, "body.a"},
		{`{"a":{"b":[1,2},"c":"%s"}`, "body.c"},
		{`]}{"a":"x","c":"%s"`, "body"},
		{`{"a":"x"]]],"c":"%s"`, "body.c"},
		{`{"a":"%s`, "body.a"},
		{`"%s"`, "body"},
		{`say %s`, "body"},
		{`{"depth":` + strings.Repeat(`[`, 100_000) + `"%s"`, "body.depth" + strings.Repeat("[0]", 24) + "…" + strings.Repeat("[0]", 53) + "…"},
	} {
		text := fmt.Sprintf(c.text, key)
		if got := locations(t, s, "application/json", text); len(got) != 1 || got[0] != c.want {
			t.Errorf("%.60s: got %q, want one at %q", c.text, got, c.want)
		}
	}
}

func TestPlacesAreTheSameInAnyPieces(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for contentType, text := range placeTexts() {
		found := scanBody(t, s, text)
		want := s.Locate(strings.NewReader(text), contentType, found)
		got := s.Locate(iotest.OneByteReader(strings.NewReader(text)), contentType, scanBody(t, s, text))
		if len(want) == 0 || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s, byte by byte: got %v, want %v, and one at least", contentType, got, want)
		}
	}
}

// placeTexts are texts with tokens in them, by content type.
func placeTexts() map[string]string {
	one, two := gitHubToken(1), gitHubToken(2)
	return map[string]string{
		"application/json":                  `{"a":["\u0041",{"b\"":"` + one + `"}],` + "\n" + `"c":{"` + two + `":0}}`,
		"application/x-www-form-urlencoded": "a=1&b%5B0%5D=" + one + "&" + two + "=1",
		"multipart/form-data; boundary=xyz": "--xyz\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n" + one + "\r\n--xyz\r\n\r\n" + two + "\r\n--xyz--\r\n",
	}
}

func TestFindingsInFormsNameTheirField(t *testing.T) {
	s, key := newScanner(t, scanner.Config{}), gitHubToken(1)
	const form = "application/x-www-form-urlencoded; charset=utf-8"
	for text, want := range map[string]string{
		"token=%s":                               "body.form[token]",
		"a=1&b=2=3&c=%s&d=4":                     "body.form[c]",
		"a&b&the+file%%5B0%%5D=%s":               `body.form["the file[0]"]`,
		"user.name=%s":                           "body.form[user.name]",
		"a=1&%s":                                 "body.form[*]",
		"a=1&%s=2":                               "body.form[*]",
		"a=1&%%zz=%s":                            "body.form[*]",
		"a=1&" + strings.Repeat("n", 65) + "=%s": "body.form[*]",
		`{"sent":"as a form","by":"%s"}`:         "body.by",
	} {
		if got := locations(t, s, form, fmt.Sprintf(text, key)); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want one at %q", text, got, want)
		}
	}
}

func TestFindingsInMultipartNameTheirPart(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part := func(disposition, text string) {
		h := textproto.MIMEHeader{}
		if disposition != "" {
			h.Set("Content-Disposition", disposition)
		}
		p, err := w.CreatePart(h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(p, text)
	}
	part(`form-data; name="file"; filename="x.env"`, "\r\n--not the end\r\nTOKEN is "+gitHubToken(1))
	part(`form-data; name="`+strings.Repeat("n", 65)+`"`, gitHubToken(2))
	part("", gitHubToken(3))
	part(`form-data; name="a b"`, gitHubToken(4))
	part(`form-data; name="`+gitHubToken(5)+`"`, gitHubToken(6))
	w.Close()
	want := []string{"body.part[file]", "body.part[*]", "body.part[2]", `body.part["a b"]`, "body.part", "body.part[*]"}
	if got := locations(t, s, w.FormDataContentType(), body.String()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPlacesNeverShowASecretThatIsAName(t *testing.T) {
	key, value := gitHubToken(1), "q7"+pick(newRand(3), "abcdefghijklm"+digits, 20)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	escaped := strings.Replace(key, "g", `\u0067`, 1)
	random := pick(newRand(4), alnum, 30)
	for _, text := range []string{
		`{"` + key + `":"` + gitHubToken(2) + `"}`,
		`{"` + escaped + `":{"a":["` + gitHubToken(2) + `"]}}`,
		`{"a":{"` + value + `":{"b":{"c":"` + gitHubToken(2) + `"}}}}`,
		`{"` + random + `":"` + gitHubToken(2) + `"}`,
		`{"` + strings.Repeat("long ", 20) + `":"` + gitHubToken(2) + `"}`,
	} {
		got := locations(t, s, "application/json", text)
		shown := strings.Join(got, " ")
		for _, secret := range []string{key[4:], value, random, strings.Repeat("long ", 20)} {
			if strings.Contains(shown, secret) {
				t.Errorf("%.40s: got the places %q, want the name left out", text, got)
			}
		}
		if !strings.Contains(shown, "*") {
			t.Errorf("%.40s: got the places %q, want * for the name", text, got)
		}
	}
}

func TestNamesThatSpellASecretTogetherAreNotShown(t *testing.T) {
	s := newScanner(t, scanner.Config{Rules: []scanner.Rule{{
		ID: "dotted", Type: scanner.TypeAPIKey, Confidence: scanner.High, Prefixes: []string{"zq-"}, Pattern: `zq-[a-z]{6}\.[a-z]{6}`,
	}}})
	text := `{"zq-abcdef":{"ghijkl":"` + gitHubToken(1) + `"}}`
	if got, want := locations(t, s, "", text), "body.*.*"; len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want one at %q", got, want)
	}
}

func TestNamesThatAFindingReachesIntoAreNotShown(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	text := `{"a":"begins here","ends":{"b":1},"c":2}`
	at := func(part string) int { return strings.Index(text, part) }
	found := []scanner.Finding{{Start: at("begins"), End: at("ends") + 1}, {Start: at("1"), End: at("1") + 1}, {Start: at("2"), End: at("2") + 1}}
	for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
		var got []string
		for _, p := range s.Locate(r, "", found) {
			got = append(got, p.Path)
		}
		if want := []string{".a", ".*.b", ".c"}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNamesThatTheScannerKnowsAreNotShownThoughNotReported(t *testing.T) {
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue("plain-words-as-password")}})
	text := `{"plain-words-as-password":{"b":1}}`
	found := []scanner.Finding{{Location: "body", Start: strings.Index(text, "1"), End: strings.Index(text, "1") + 1}}
	if got := s.Locate(strings.NewReader(text), "", found)[0].Path; got != ".*.b" {
		t.Errorf("got %q, want .*.b", got)
	}
}

func TestPartNamesThatAFindingReachesIntoAreNotShown(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	text := "--xyz\r\nContent-Disposition: form-data; name=\"some file\"\r\n\r\nvalue"
	name, value := strings.Index(text, "some"), strings.Index(text, "value")
	found := []scanner.Finding{{Start: name, End: name + 4}, {Start: value, End: value + 5}}
	if got := s.Locate(strings.NewReader(text), "multipart/mixed; boundary=xyz", found)[1].Path; got != ".part[*]" {
		t.Errorf("got %q, want .part[*]", got)
	}
}

func TestPlacesCountLinesAndCharacters(t *testing.T) {
	s, key := newScanner(t, scanner.Config{}), gitHubToken(1)
	text := "first\n\nçé日 " + key + "\r\n" + gitHubToken(2) + "\nwörter über wörter: " + gitHubToken(3)
	found := scanBody(t, s, text)
	got := s.Locate(strings.NewReader(text), "", found)
	want := []scanner.Place{{Line: 3, Column: 5}, {Line: 4, Column: 1}, {Line: 5, Column: 21}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPlacesOfATextThatBreaksOffAreUnknown(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	text := `{"a":"` + gitHubToken(1) + `","b":"` + gitHubToken(2) + `"}`
	found := scanBody(t, s, text)
	if len(found) != 2 {
		t.Fatalf("got %d findings, want 2", len(found))
	}
	found[0], found[1] = found[1], found[0]
	places := s.Locate(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(text))), "", found)
	if places[0] != (scanner.Place{}) || found[0].Location != "body" {
		t.Errorf("after the end: got %+v at %q, want no place and body", places[0], found[0].Location)
	}
	found = scanBody(t, s, text)
	places = s.Locate(strings.NewReader(text[:20]), "", found)
	if places[0].Path != ".a" || places[1] != (scanner.Place{}) || found[1].Location != "body" {
		t.Errorf("got %+v, want the first alone", places)
	}
}

// FuzzPlacesDoNotDependOnPieces also holds lines and the length of paths to account.
func FuzzPlacesDoNotDependOnPieces(f *testing.F) {
	for contentType, text := range placeTexts() {
		f.Add(contentType, text, uint8(3))
	}
	f.Add("", `{"a":[{"b":1},"x"],"c":{"d":"e"}}`, uint8(7))
	s, err := scanner.New(scanner.Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, contentType, text string, at uint8) {
		start := min(int(at), len(text))
		one := []scanner.Finding{{Start: start, End: start + 1}}
		places := s.Locate(iotest.OneByteReader(strings.NewReader(text)), contentType, one)
		again := []scanner.Finding{{Start: start, End: start + 1}}
		if whole := s.Locate(strings.NewReader(text), contentType, again); whole[0] != places[0] {
			t.Errorf("%q at %d: got %v byte by byte, %v at once", text, start, places[0], whole[0])
		}
		if want := 1 + strings.Count(text[:start], "\n"); places[0].Line != want {
			t.Errorf("%q at %d: got line %d, want %d", text, start, places[0].Line, want)
		}
		if len(places[0].Path) > 300 {
			t.Errorf("%q: got a path of %d bytes, want it bounded", text, len(places[0].Path))
		}
	})
}

func TestPathsLeadToTheValueInAnyJSON(t *testing.T) {
	s, r := newScanner(t, scanner.Config{}), newRand(5)
	for seed := range uint64(300) {
		key := gitHubToken(seed)
		path, value := "", any("x"+key[:3]+" "+key)
		for range r.IntN(8) {
			if r.IntN(2) == 0 {
				list := make([]any, r.IntN(4)+1)
				i := r.IntN(len(list))
				list[i], path, value = value, fmt.Sprintf("[%d]%s", i, path), nil
				value = list
				continue
			}
			name := pick(r, "abcdefgh", 1+r.IntN(6))
			path = "." + name + path
			value = map[string]any{name: value, "aa,:": []any{"{", 1}, "zz": map[string]any{"}": "]"}}
		}
		text, err := json.MarshalIndent(value, "", strings.Repeat(" ", r.IntN(3)))
		if err != nil {
			t.Fatal(err)
		}
		if got := locations(t, s, "", string(text)); len(got) != 1 || got[0] != "body"+path {
			t.Fatalf("%s: got %q, want one at %q", text, got, "body"+path)
		}
	}
}

func BenchmarkPlaces(b *testing.B) {
	s := newScanner(b, scanner.Config{})
	for _, kind := range []string{"json", "escapes", "brackets", "form"} {
		text := map[string]string{
			"json":     `{"messages":[` + strings.Repeat(`{"role":"user","content":"`+url.PathEscape(strings.Repeat("some words of text ", 20))+`"},`, 2000) + `{}]}`,
			"escapes":  `{"a":"` + strings.Repeat(`\n`, 500_000) + `"}`,
			"brackets": `{"a":` + strings.Repeat(`[`, 1_000_000),
			"form":     strings.Repeat("a=b&", 250_000),
		}[kind]
		contentType := "application/x-www-form-urlencoded"
		b.Run(kind, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				s.Locate(strings.NewReader(text), contentType, []scanner.Finding{{Start: len(text) - 1, End: len(text)}})
			}
		})
	}
}
