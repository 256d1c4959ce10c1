package scanner_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// every makes the test of all rules in deltas take every size in every dialect.
var every = flag.Bool("every", false, "test each rule in deltas of every size in every dialect")

// lead is how many of its first characters a secret may lose that has no public
// prefix, by the rule that shorter runs are not held.
const lead = 7

// leaks says how got differs from want, the text with the secret at its place
// redacted, in more than late characters of the secret before that.
func leaks(got, want, secret string, late int) bool {
	if got == want {
		return false
	}
	at := strings.Index(want, "[REDACTED")
	for k := 1; at >= 0 && k <= min(late, len(secret)); k++ {
		if got == want[:at]+secret[:k]+want[at:] {
			return false
		}
	}
	return true
}

func TestEachRuleIsRedactedInDeltasAsInTheWhole(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(12)
	all := allDialects()
	for i, rule := range scanner.Rules() {
		if !hasShape(rule) || rule.Confidence == scanner.Low {
			continue
		}
		l := trueSample(t, r, rule)
		text := "begin " + l.text() + " end."
		clean, _ := s.Sanitize([]byte(text))
		if strings.Contains(string(clean), l.secret) || strings.Count(string(clean), "[REDACTED") != 1 {
			continue // what a rule finds is another test's matter
		}
		late := 0
		if len(rule.Prefixes) == 0 || rule.Back > 0 {
			late = lead
		}
		sizes, in := []int{1, 2, 3 + i%5, 8 + i%9, 17 + i%30, len(text)}, []dialect{all[i%len(all)], all[(i*7+3)%len(all)]}
		if *every {
			sizes, in = nil, all
			for n := 1; n <= len(text); n++ {
				sizes = append(sizes, n)
			}
		}
		for _, d := range in {
			for _, n := range sizes {
				got := d.textOf(t, redact(t, s, d.media(), d.stream(chop(text, n))))
				if leaks(got, string(clean), l.secret, late) {
					t.Errorf("%s in %s, deltas of %d: got %.200q, want %.200q", rule.ID, d.name, n, got, clean)
				}
			}
		}
	}
}

func TestASecretThatHoldsAnIDIsRedactedWhereADeltaIsThat(t *testing.T) {
	id := uuidOf(newRand(4))
	value := "acme-access-" + id
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	for _, d := range allDialects() {
		got := d.textOf(t, redact(t, s, d.media(), d.stream([]string{"it is acme-access-", id, ", so"})))
		if want := "it is [REDACTED:vault:acme], so"; got != want {
			t.Errorf("%s: got %q, want %q", d.name, got, want)
		}
	}
}

func TestVaultValuesAreRedactedInDeltasOfEverySize(t *testing.T) {
	for seed := range uint64(4) {
		value := pick(newRand(seed), alnum+"_-", 40)
		s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
		text := "it is (" + value + ")."
		for _, d := range allDialects() {
			for n := 1; n <= len(text); n++ {
				got := d.textOf(t, redact(t, s, d.media(), d.stream(chop(text, n))))
				if leaks(got, "it is ([REDACTED:vault:acme]).", value, lead) {
					t.Errorf("%s, deltas of %d: got %q", d.name, n, got)
				}
			}
		}
	}
}

func TestEventsLeaveAlikeWhateverTheVaultHolds(t *testing.T) {
	value := pick(newRand(3), alnum, 40)
	with := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	without := newScanner(t, scanner.Config{})
	text := "a guess " + value[:10] + ", " + value[:39] + ", x" + value[1:] + " and " + value[:39]
	for _, d := range allDialects() {
		for _, n := range []int{1, 3, 8, 13, 45} {
			var a, b bytes.Buffer
			ra := with.NewRedactor(&a, scanner.RedactOptions{ContentType: d.media()})
			rb := without.NewRedactor(&b, scanner.RedactOptions{ContentType: d.media()})
			for _, piece := range chop(text, n) {
				for _, r := range []*scanner.Redactor{ra, rb} {
					if _, err := io.WriteString(r, d.event(piece)); err != nil {
						t.Fatalf("Write: %v", err)
					}
				}
				if a.String() != b.String() {
					t.Fatalf("%s, deltas of %d: with the vault %q came out, without it %q", d.name, n, a.String(), b.String())
				}
			}
		}
	}
}

// mayGoOn says whether the run at the end of a text without names may become a
// secret as far as its shape tells: it is long, or it begins a public prefix.
func mayGoOn(text string, rules []scanner.Rule) bool {
	run := text[strings.LastIndexAny(text, " ,\n")+1:]
	if len(run) >= 8 {
		return true
	}
	for _, r := range rules {
		for _, p := range r.Prefixes {
			if run != "" && (strings.HasPrefix(p, run) || strings.HasPrefix(run, p)) {
				return true
			}
		}
	}
	return false
}

// unnamed takes away what says that a secret follows.
var unnamed = strings.NewReplacer(":", ",", "bearer", "bear", "password", "word")

func TestEventsAreHeldForTheirShapeAlone(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	rules := scanner.Rules()
	r := newRand(21)
	for _, d := range allDialects() {
		var out bytes.Buffer
		redactor := s.NewRedactor(&out, scanner.RedactOptions{ContentType: d.media()})
		text, sent := "", ""
		for i, rest := 0, unnamed.Replace(prose(r, 120)); rest != ""; i++ {
			n := min(1+r.IntN(9), len(rest))
			text, sent = text+rest[:n], sent+d.event(rest[:n])
			if _, err := io.WriteString(redactor, d.event(rest[:n])); err != nil {
				t.Fatalf("Write: %v", err)
			}
			if rest = rest[n:]; out.String() != sent && !mayGoOn(text, rules) && i > 0 {
				t.Errorf("%s: after %q, %d of %d bytes have left", d.name, text[max(0, len(text)-30):], out.Len(), len(sent))
				break
			}
		}
	}
}

func TestSecretsInArgumentsAreFoundThroughTheirEscapes(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	tail := pick(newRand(5), alnum, 36)
	for _, arguments := range []string{
		`{"command":"echo\n` + "ghp_" + tail + `\n"}`,
		`{"command":"echo \"` + "ghp_" + tail + `\""}`,
		`{"command":"` + `\u0067hp_` + tail + `"}`,
		`{"inner":` + quoted(`{"command":"a\n`+"ghp_"+tail+`"}`) + `}`,
		`{"inner":` + quoted(`{"command":"\u0067hp_`+tail+`"}`) + `}`,
	} {
		for _, d := range allDialects() {
			for _, n := range []int{1, 2, 3, 5, 11, 40, len(arguments)} {
				got := d.textOf(t, redact(t, s, d.media(), d.stream(chop(arguments, n))))
				if strings.Contains(got, tail[:8]) || strings.Contains(got, tail[28:]) {
					t.Errorf("%s, deltas of %d: of %q came %q", d.name, n, arguments, got)
				} else if n > 3 && !json.Valid([]byte(got)) {
					t.Errorf("%s, deltas of %d: no JSON any more: %q", d.name, n, got)
				}
			}
		}
	}
}

func TestEscapedDeltasReadAsWhatTheySay(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	var b strings.Builder
	for i, p := range chop(secret, 6) {
		escaped := ""
		for j := range len(p) {
			if (i+j)%2 == 0 {
				escaped += fmt.Sprintf(`\u%04x`, p[j])
			} else {
				escaped += p[j : j+1]
			}
		}
		fmt.Fprintf(&b, "data: {\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}\n\n", escaped)
	}
	got := redact(t, s, eventStream, b.String())
	if !strings.Contains(got, `"[REDACTED:github-pat]"`) || strings.Contains(got, secret[10:14]) || strings.Count(got, `"content":""`) != 6 {
		t.Errorf("got %q", got)
	}
	half := `data: {"delta":"x\ud83d\u003c\u0001\"\\ ` + secret + `"}` + "\n\n" + `data: {"delta":"\ude00 é\u00e9"}` + "\n\n"
	want := `data: {"delta":"x\ud83d<\u0001\"\\ [REDACTED:github-pat]"}` + "\n\n" + `data: {"delta":"\ude00 é\u00e9"}` + "\n\n"
	if got := redact(t, s, eventStream, half); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// interleaved are events of two texts each, by number.
var interleaved = []struct {
	name  string
	event func(which int, text string) string
}{
	{"choices", func(k int, text string) string {
		return fmt.Sprintf(`data: {"choices":[{"index":%d,"delta":{"content":%s}}]}`+"\n\n", k, quoted(text))
	}},
	{"tool calls", func(k int, text string) string {
		return fmt.Sprintf(`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}}]}`+"\n\n", k, quoted(text))
	}},
	{"content blocks", func(k int, text string) string {
		return fmt.Sprintf(`data: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%s}}`+"\n\n", k, quoted(text))
	}},
	{"items", func(k int, text string) string {
		return fmt.Sprintf(`data: {"type":"response.output_text.delta","item_id":"msg_%d","delta":%s}`+"\n\n", k, quoted(text))
	}},
	{"candidates", func(k int, text string) string {
		return fmt.Sprintf(`data: {"candidates":[{"index":%d,"content":{"parts":[{"text":%s}]}}]}`+"\n\n", k, quoted(text))
	}},
	{"thoughts", func(k int, text string) string {
		return fmt.Sprintf(`data: {"candidates":[{"content":{"parts":[{"text":%s,"thought":%t}]}}]}`+"\n\n", quoted(text), k == 1)
	}},
	{"fields", func(k int, text string) string {
		return fmt.Sprintf(`data: {"choices":[{"index":0,"delta":{"%s":%s}}]}`+"\n\n", []string{"content", "refusal"}[k], quoted(text))
	}},
	{"parts by id", func(k int, text string) string {
		return fmt.Sprintf(`data: {"type":"text-delta","id":"txt-%d","delta":%s}`+"\n\n", k, quoted(text))
	}},
	{"places of an array", func(k int, text string) string {
		return `data: {"outputs":[` + strings.Repeat(`{"text":""},`, k) + `{"text":` + quoted(text) + "}]}\n\n"
	}},
	{"unknown ids", func(k int, text string) string {
		return fmt.Sprintf(`data: {"run_id":"r%d","chunk":{"text":%s}}`+"\n\n", k, quoted(text))
	}},
	{"names of events", func(k int, text string) string {
		return fmt.Sprintf("event: part%d\ndata: %s\n\n", k, strings.TrimSuffix(text, " "))
	}},
}

func TestTextsOfAllKindsAreSearchedApart(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	for _, k := range interleaved {
		for secretIn := range 2 {
			var b strings.Builder
			for _, p := range chop(secret, 4) {
				b.WriteString(k.event(secretIn, p))
				b.WriteString(k.event(1-secretIn, "so on "))
			}
			got := redact(t, s, eventStream, b.String())
			if !strings.Contains(got, "[REDACTED:github-pat]") || strings.Contains(got, secret[8:12]) {
				t.Errorf("%s: the secret came out: %q", k.name, got)
			}
			if n := strings.Count(got, "so on"); n != 10 {
				t.Errorf("%s: the other text has %d of 10 pieces", k.name, n)
			}
		}
	}
}

func TestNumbersThatCountEventsDoNotTellTextsApart(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	for _, event := range []string{
		`data:{"index":%d,"token":{"id":5%[1]d,"text":%s,"logprob":-0.1,"special":false},"generated_text":null}` + "\n\n",
		`data: {"id":"evt_%d","text":%s}` + "\n\n",
		`data: {"id":"evt_%d","delta":%s}` + "\n\n",
		`data: {"event_id":"e%d","sequence_number":%[1]d,"type":"response.output_text.delta","item_id":"m","delta":%[2]s}` + "\n\n",
	} {
		for n := 1; n < len(secret); n++ {
			var b strings.Builder
			for i, p := range chop("is "+secret+" so", n) {
				fmt.Fprintf(&b, event, i, quoted(p))
			}
			got := redact(t, s, eventStream, b.String())
			if !strings.Contains(got, "[REDACTED:github-pat]") || strings.Contains(got, quoted(secret[:min(n, len(secret))])) {
				t.Errorf("%s, deltas of %d: got %q", event, n, got)
			}
		}
	}
}

func TestLabelsThatRepeatHoldNothingBack(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, event := range []string{
		`data: {"node":"agent","flag":"1","short":"t1","chunk":{"text":%s}}` + "\n\n",
		`data: {"choices":[{"delta":{"content":%s,"variant":"acme-chat-large-v1"}}]}` + "\n\n",
		`{"trace":"0b5f7c0e-9d6e-4a57-8c11-6f0d7c2f9a1%[2]d","clock":"2026-11-23T10:00:0%[2]d.5Z","text":%[1]s}` + "\n\n",
	} {
		var out bytes.Buffer
		r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: eventStream})
		sent := ""
		for i := range 30 {
			e := strings.Split(fmt.Sprintf(event, quoted(fmt.Sprintf("no. %d, ", i)), i%10), "%!")[0]
			if !strings.HasSuffix(e, "\n\n") {
				e += "\n\n"
			}
			sent += e
			if _, err := io.WriteString(r, e); err != nil {
				t.Fatalf("Write: %v", err)
			}
			if i > 0 && out.String() != sent {
				t.Errorf("%s: after event %d, %d of %d bytes have left", event, i, out.Len(), len(sent))
				break
			}
		}
	}
}

func TestEventsAlikeAreSearchedUnlessTheirTextIsPlain(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := pick(newRand(8), alnum, 32)
	stamp := uuidOf(newRand(9))
	event := func(text string) string { return `data: {"client_secret":` + quoted(text) + "}\n\n" }
	for _, value := range []string{secret, stamp} {
		got := redact(t, s, eventStream, event("none, ")+event("none, or ")+event(value)+event(value)+event(value)+event("a word, ")+event(value))
		if single := redact(t, s, eventStream, event(value)); strings.Contains(single, "[REDACTED") && strings.Contains(got, value) {
			t.Errorf("what is redacted in one event came out of several: %q", got)
		} else if value == secret && !strings.Contains(single, "[REDACTED") {
			t.Errorf("the secret came out: %q", single)
		}
	}
}

func TestAWholeTextAtTheEndIsRedactedToo(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	d := dialects[2]
	var b strings.Builder
	for _, p := range chop(secret, 4) {
		b.WriteString(d.event(p))
	}
	done := `data: {"type":"response.output_text.done","item_id":"msg_1","output_index":0,"content_index":0,"text":%s}` + "\n\n"
	got := redact(t, s, eventStream, b.String()+fmt.Sprintf(done, quoted(secret)))
	if want := fmt.Sprintf(done, quoted("[REDACTED:github-pat]")); !strings.HasSuffix(got, want) || strings.Count(got, "[REDACTED:github-pat]") != 2 {
		t.Errorf("got %q", got)
	}
}

func TestTheEndOfATextLetsItGo(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, d := range allDialects() {
		if d.end == "" {
			continue
		}
		var out bytes.Buffer
		r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: d.media()})
		for _, p := range []string{d.event("an understanding"), d.end} {
			if _, err := io.WriteString(r, p); err != nil {
				t.Fatalf("Write: %v", err)
			}
		}
		if want := d.event("an understanding") + d.end; out.String() != want {
			t.Errorf("%s: %d of %d bytes have left before Close", d.name, out.Len(), len(want))
		}
	}
}

func TestWhatIsHeldAtTheEndIsReleasedOrRedacted(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	for _, d := range allDialects() {
		pieces := chop(secret, 8)
		stream := ""
		for _, p := range pieces {
			stream += d.event(p)
		}
		if got := redact(t, s, d.media(), stream); !strings.Contains(got, "[REDACTED:github-pat]") || strings.Contains(got, secret[8:16]) {
			t.Errorf("%s: the secret came out at the end: %q", d.name, got)
		}
		last := d.event(pieces[4])
		cut := stream[:len(stream)-len(last)+strings.Index(last, pieces[4])+len(pieces[4])]
		if got := redact(t, s, d.media(), cut); !strings.Contains(got, "[REDACTED:github-pat]") || strings.Contains(got, secret[8:16]) {
			t.Errorf("%s: the secret came out of an event that was cut off: %q", d.name, got)
		}
		clean := d.event("an understanding")
		if got := redact(t, s, d.media(), clean); got != clean {
			t.Errorf("%s: got %q, want %q", d.name, got, clean)
		}
	}
}

func TestFindingsOfEventsTellTheirPlace(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	event := func(text string) string {
		return `data: {"choices":[{"index":0,"delta":{"content":` + quoted(text) + "}}]}\n\n"
	}
	for _, c := range []struct{ name, stream, location, form string }{
		{"several deltas", event(secret[:10]) + event(secret[10:]), "body.choices[0].delta.content", "delta"},
		{"one delta", event(secret+" is all") + event(" and so on."), "body.choices[0].delta.content", ""},
		{"no delta", "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"text\":\"a\"},{\"text\":" + quoted(secret) + "}]}}\n\n", "body.result.content[1].text", ""},
		{"no JSON", "data: " + secret + "\n\n", "body", ""},
		{"plain data", "data: " + secret[:10] + "\n\ndata: " + secret[10:] + "\n\n", "body", "delta"},
		{"outside the data", "id: " + secret + "\ndata: {\"a\":1}\n\n", "body", ""},
		{"secret name", "data: {\"" + secret + "\":{\"delta\":\"" + secret + "\"}}\n\n", "body.*.delta", ""},
		{"long name", "data: {\"" + strings.Repeat("long ", 20) + "\":{\"delta\":\"" + secret + "\"}}\n\n", "body.*.delta", ""},
	} {
		var out bytes.Buffer
		r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: eventStream})
		if _, err := io.WriteString(r, c.stream); err != nil {
			t.Fatalf("Write: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		found := r.Findings()
		if len(found) == 0 {
			t.Errorf("%s: nothing found in %q", c.name, out.String())
			continue
		}
		if f := found[0]; f.Location != c.location || f.Form != c.form {
			t.Errorf("%s: got %q, %q, want %q, %q", c.name, f.Location, f.Form, c.location, c.form)
		}
		for _, f := range found {
			if strings.Contains(f.Location, secret[4:12]) {
				t.Errorf("%s: the place shows the secret", c.name)
			}
		}
	}
}

func TestMessagesOfASequenceAreOneText(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	var out [][]byte
	r := s.NewRedactor(messages{&out}, scanner.RedactOptions{Messages: true})
	var want []string
	for i, p := range append(chop(secret, 10), " and so on.") {
		if _, err := fmt.Fprintf(r, `{"type":"response.text.delta","event_id":"e%d","delta":%s}`, i, quoted(p)); err != nil {
			t.Fatalf("Write: %v", err)
		}
		text := map[int]string{0: "[REDACTED:github-pat]", 4: " and so on."}[i]
		want = append(want, fmt.Sprintf(`{"type":"response.text.delta","event_id":"e%d","delta":%s}`, i, quoted(text)))
	}
	if err := r.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if got := string(bytes.Join(out, []byte("\n"))); got != strings.Join(want, "\n") {
		t.Errorf("got %s, want %s", got, strings.Join(want, "\n"))
	}
}

// messages keeps each write apart.
type messages struct{ list *[][]byte }

func (m messages) Write(p []byte) (int, error) {
	*m.list = append(*m.list, bytes.Clone(p))
	return len(p), nil
}

func FuzzDeltasAddUp(f *testing.F) {
	r := newRand(11)
	value := pick(r, alnum, 24)
	s := newScanner(f, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	all := allDialects()
	for i, l := range streamSamples(f) {
		f.Add(l.text()+" KNOWN", uint8(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, n, kind uint8) {
		if len(text) > 4<<10 || strings.ContainsAny(text, "\x00\ufffd") || strings.ToValidUTF8(text, "") != text {
			return
		}
		d := all[int(kind)%len(all)]
		text = strings.ReplaceAll(text, "KNOWN", value)
		var pieces []string
		for _, p := range strings.SplitAfter(text, "") { // characters, since JSON cannot be cut in one
			if k := len(pieces) - 1; k >= 0 && len(pieces[k]) <= int(n%64) {
				pieces[k] += p
			} else {
				pieces = append(pieces, p)
			}
		}
		stream := d.stream(pieces)
		out := redact(t, s, d.media(), stream)
		if got := redact(t, s, d.media(), chop(stream, int(n)+1)...); got != out {
			t.Errorf("%s %q in pieces of %d: got %q, want %q", d.name, stream, int(n)+1, got, out)
		}
		if strings.Contains(out, value[lead:]) {
			t.Errorf("%s: the value came out of %q: %q", d.name, stream, out)
		}
		clean, _ := s.Sanitize([]byte(text))
		if string(clean) == text && !strings.Contains(out, "[REDACTED") && out != stream {
			t.Errorf("%s: clean text %q came out as %q", d.name, stream, out)
		}
	})
}
