package quota

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// Meter reads how many model tokens an answer counts, as it passes: in the objects that
// the providers call usage, of a JSON body, of events, and of framed messages alike. The
// text of a model cannot speak in their place, since a quote within a JSON string is
// escaped; where a model can make an object of that name, the largest numbers count. The
// zero Meter is ready.
type Meter struct {
	input, output, cached, total float64

	state  int
	word   []byte // since the last quote
	object []byte
	depth  int
	quoted bool // within a string of the object
	spared bool // the next byte is escaped
}

// What the Meter waits for.
const (
	wantsKey = iota
	wantsColon
	wantsObject
	wantsEnd
)

const (
	maxWord    = 16
	maxObject  = 4 << 10 // a longer one is passed over
	mostTokens = 1 << 40 // of one answer: what says more is not believed further
)

// Write implements io.Writer. It never fails.
func (m *Meter) Write(p []byte) (int, error) {
	for i := 0; i < len(p); i++ {
		if m.state == wantsKey && len(m.word) >= maxWord { // no key of ours: on to the next quote
			next := bytes.IndexByte(p[i:], '"')
			if next < 0 {
				break
			}
			i += next
		}
		m.take(p[i])
	}
	return len(p), nil
}

func (m *Meter) take(c byte) {
	blank := c == ' ' || c == '\t' || c == '\r' || c == '\n'
	switch {
	case m.state == wantsEnd:
		m.within(c)
	case m.state == wantsColon && (blank || c == ':'):
		if c == ':' {
			m.state = wantsObject
		}
	case m.state == wantsObject && (blank || c == '{'):
		if c == '{' {
			m.state, m.object, m.depth, m.quoted, m.spared = wantsEnd, append(m.object[:0], c), 1, false, false
		}
	default:
		m.key(c)
	}
}

// key takes a byte of a word that may be one of the keys. Each quote begins a word, and
// ends the one before.
func (m *Meter) key(c byte) {
	m.state = wantsKey
	if c != '"' {
		if len(m.word) < maxWord {
			m.word = append(m.word, c)
		}
		return
	}
	switch string(m.word) {
	case "usage", "usageMetadata", "billed_units":
		m.state = wantsColon
	}
	m.word = m.word[:0]
}

// within takes a byte of a usage object.
func (m *Meter) within(c byte) {
	if m.object = append(m.object, c); len(m.object) > maxObject {
		m.state = wantsKey
		return
	}
	switch {
	case m.spared:
		m.spared = false
	case m.quoted:
		m.spared, m.quoted = c == '\\', c != '"'
	case c == '"':
		m.quoted = true
	case c == '{':
		m.depth++
	case c == '}':
		if m.depth--; m.depth == 0 {
			m.state = wantsKey
			m.count()
		}
	}
}

// counted are the numbers of OpenAI and those who speak as it does, Anthropic, Bedrock,
// Google and Cohere, by whose documentation cached tokens are beside the input's where
// they have a field of their own here.
type counted struct {
	PromptTokens     float64 `json:"prompt_tokens"`
	CompletionTokens float64 `json:"completion_tokens"`
	InputTokens      float64 `json:"input_tokens"`
	OutputTokens     float64 `json:"output_tokens"`
	CacheCreation    float64 `json:"cache_creation_input_tokens"`
	CacheRead        float64 `json:"cache_read_input_tokens"`
	TotalTokens      float64 `json:"total_tokens"`

	BedrockInput  float64 `json:"inputTokens"`
	BedrockOutput float64 `json:"outputTokens"`
	BedrockTotal  float64 `json:"totalTokens"`
	BedrockRead   float64 `json:"cacheReadInputTokens"`
	BedrockWrite  float64 `json:"cacheWriteInputTokens"`

	GooglePrompt     float64 `json:"promptTokenCount"`
	GoogleCandidates float64 `json:"candidatesTokenCount"`
	GoogleThoughts   float64 `json:"thoughtsTokenCount"`
	GoogleTotal      float64 `json:"totalTokenCount"`

	Billed struct {
		Input  float64 `json:"input_tokens"`
		Output float64 `json:"output_tokens"`
	} `json:"billed_units"`
}

func (m *Meter) count() {
	var u counted
	if json.Unmarshal(m.object, &u) != nil {
		return
	}
	m.input = max(m.input, u.PromptTokens, u.InputTokens, u.BedrockInput, u.GooglePrompt, u.Billed.Input)
	m.output = max(m.output, u.CompletionTokens, u.OutputTokens, u.BedrockOutput, u.GoogleCandidates+u.GoogleThoughts, u.Billed.Output)
	m.cached = max(m.cached, u.CacheCreation+u.CacheRead, u.BedrockRead+u.BedrockWrite)
	m.total = max(m.total, u.TotalTokens, u.BedrockTotal, u.GoogleTotal)
}

// Head reads the headers in which Bedrock counts the answer of InvokeModel.
func (m *Meter) Head(h http.Header) {
	number := func(name string) float64 {
		n, err := strconv.ParseUint(h.Get(name), 10, 40)
		if err != nil {
			return 0
		}
		return float64(n)
	}
	m.input = max(m.input, number("X-Amzn-Bedrock-Input-Token-Count"))
	m.output = max(m.output, number("X-Amzn-Bedrock-Output-Token-Count"))
}

// ModelTokens is how many the answer has counted so far; zero where it counts none.
func (m *Meter) ModelTokens() int64 {
	return int64(min(max(m.total, m.input+m.output+m.cached), mostTokens))
}

const bytesPerToken = 4

// Estimate is what a stream is taken to cost at least whose end, where the count is, did
// not come or holds none: so that hanging up early is no way around a quota.
func Estimate(sent, received int64) int64 { return (sent + received) / bytesPerToken }
