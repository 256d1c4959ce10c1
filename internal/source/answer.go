package source

import (
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/superinstance/keeper/internal/secret"
)

const maxAnswerBytes = 256 << 10

// protocolVersion is the one of docs/secret-helpers.md.
const protocolVersion = 1

// question is what a helper reads: one JSON object on one line.
func question(s Spec, key string) []byte {
	type get struct {
		Provider string `json:"provider"`
		Label    string `json:"label"`
		Key      string `json:"key"`
	}
	text, _ := json.Marshal(struct {
		Version int `json:"version"`
		Get     get `json:"get"`
	}{protocolVersion, get{s.Provider, s.Label, key}}) // texts alone: what is no UTF-8 was refused with the file
	return append(text, '\n')
}

// answer is what a helper writes.
type answer struct {
	Value     *secret.Value `json:"value"`
	ExpiresAt *time.Time    `json:"expiresAt"`
	Origin    string        `json:"origin"`
	Error     string        `json:"error"`
	Gone      bool          `json:"gone"`
}

// refusal is an answer without a value: the helper's own, or one that is none.
type refusal struct {
	sentence string
	own      bool // the helper's words, which may hold anything
	gone     bool
}

// parseAnswer reads a helper's answer: one JSON object, without a field that the
// contract does not know, which could be one that matters misspelt. Of the decoder's
// errors, which can quote the answer, nothing is said.
func parseAnswer(text []byte, now time.Time) (value, *refusal) {
	var a answer
	if err := json.Unmarshal(text, &a, json.RejectUnknownMembers(true)); err != nil {
		return value{}, &refusal{sentence: "its answer is not the one JSON object of the contract"}
	}
	switch {
	case a.Error != "" && a.Value != nil:
		return value{}, &refusal{sentence: "its answer has a value and an error"}
	case a.Error != "":
		return value{}, &refusal{sentence: a.Error, own: true, gone: a.Gone}
	case a.Gone:
		return value{}, &refusal{sentence: "its answer says that the secret is gone without an error"}
	case a.Value == nil || a.Value.Len() == 0:
		return value{}, &refusal{sentence: "its answer has neither a value nor an error"}
	case len(a.Origin) > 64 || strings.ContainsFunc(a.Origin, isControl):
		return value{}, &refusal{sentence: "its answer's origin is longer than 64 bytes, or holds control characters"}
	}
	v := value{secret: *a.Value, origin: a.Origin}
	if a.ExpiresAt != nil {
		left := a.ExpiresAt.Sub(now)
		if left <= 0 {
			return value{}, &refusal{sentence: "its answer has expired already"}
		}
		v.expires, v.within = *a.ExpiresAt, share(left)
	}
	return v, nil
}

// share is after how much of its life a value is asked for anew.
func share(life time.Duration) time.Duration { return life / 3 * 2 }
