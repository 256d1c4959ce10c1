package vault

import (
	"encoding/json"
	"testing"
)

func FuzzFieldIsSetOrTheBodyRefused(f *testing.F) {
	for _, body := range []string{`{}`, `{"a":1,"token":2,"TOKEN":{}}`, `{"auth":{"token":[]}}`, `[`, `{"a":}`, "{\"a\":\"\\ud800\"}"} {
		f.Add([]byte(body), "key")
	}
	f.Fuzz(func(t *testing.T, body []byte, text string) {
		changed, err := withMember(body, []string{"auth", "token"}, text)
		if err != nil {
			return
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal(body, &before) != nil {
			t.Fatalf("%q: got %q, want an error", body, changed)
		}
		var told struct {
			Auth map[string]any `json:"auth"`
		}
		wanted, _ := json.Marshal(text)
		var want string
		json.Unmarshal(wanted, &want)
		if err := json.Unmarshal(changed, &told); err != nil || told.Auth["token"] != want {
			t.Errorf("%q: got %q and %v, want the field set", body, changed, err)
		}
		if json.Unmarshal(changed, &after) != nil || len(after) > len(before)+1 {
			t.Errorf("%q: got %q, want one member more at most", body, changed)
		}
	})
}
