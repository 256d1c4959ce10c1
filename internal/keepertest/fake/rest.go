package fake

import (
	"net/http"
	"net/url"
	"strings"
)

func (a *answer) stripe() {
	form, err := url.ParseQuery(string(a.rec.Body))
	if err != nil || !strings.HasPrefix(a.rec.Path, "/v1/customers") {
		a.fail(http.StatusNotFound)
		return
	}
	customer := object{
		"id": "cus_" + random(base62, 14), "object": "customer", "created": created, "livemode": true,
		"email": form.Get("email"), "name": form.Get("name"), "description": a.text(), "metadata": object{},
	}
	id := strings.TrimPrefix(a.rec.Path, "/v1/customers")
	switch {
	case a.r.Method == http.MethodPost || id != "":
		a.json(a.status(), customer)
	default:
		a.json(a.status(), object{"object": "list", "url": "/v1/customers", "has_more": false, "data": []any{customer}})
	}
}

// slack answers 200 to everything, as Slack does.
func (a *answer) slack() {
	switch a.rec.Path {
	case "/api/auth.test":
		a.json(a.status(), object{
			"ok": true, "url": "https://fake.example/", "team": a.text(), "user": "fake-bot", "team_id": "T0FAKE", "user_id": "U0FAKE",
		})
	case "/api/chat.postMessage":
		a.json(a.status(), object{"ok": true, "channel": "C0FAKE", "ts": "1760000000.000100", "message": object{"type": "message", "text": a.text()}})
	default:
		a.json(http.StatusOK, object{"ok": false, "error": "unknown_method"})
	}
}
