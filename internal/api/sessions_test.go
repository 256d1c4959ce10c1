package api_test

import (
	"strings"
	"testing"
	"time"
)

// sessions are the rows that the caller is shown.
func (k *keeper) sessions(token string, header ...string) []map[string]any {
	k.t.Helper()
	var rows []map[string]any
	for _, row := range k.want(k.call("GET", "/auth/sessions", token, "", header...), 200).body["sessions"].([]any) {
		rows = append(rows, row.(map[string]any))
	}
	return rows
}

func TestLivingSessionsAreListedWithTheirOwnMarked(t *testing.T) {
	t.Parallel()
	clock := &pace{at: time.Now()}
	k := newKeeper(t, settings{now: clock.now})
	if rows := k.sessions(k.admin); len(rows) != 0 {
		t.Errorf("got %v, want none", rows)
	}
	viewer := k.signIn(k.token("viewer", "keeper:read"))
	clock.add(time.Minute)
	operator := k.signIn(k.admin)
	clock.add(time.Minute)
	rows := k.sessions("", viewer...)
	if len(rows) != 2 || rows[0]["name"] != "viewer" || rows[0]["own"] != true || rows[1]["by"] != "admin token" || rows[1]["own"] != false {
		t.Fatalf("got %v, want the viewer's own, which was used last, and the operator's", rows)
	}
	if rows[0]["how"] != "link" || rows[0]["source"] == nil || rows[0]["lastUsedAt"] == rows[0]["startedAt"] || len(rows[0]["scopes"].([]any)) != 1 {
		t.Errorf("got %v, want how, from where, since when and last when", rows[0])
	}
	if raw := k.want(k.call("GET", "/auth/sessions", k.admin, ""), 200).raw; strings.Contains(raw, viewer[1][len(plain)+1:]) || strings.Contains(raw, viewer[5]) || strings.Contains(raw, `"own":true`) {
		t.Errorf("got %s, want no key of a session, and none that is a token's own", raw)
	}
	k.want(k.call("POST", "/auth/revoke", "", `{"agentId":"viewer"}`, operator...), 200)
	if rows := k.sessions("", operator...); len(rows) != 1 || rows[0]["own"] != true {
		t.Errorf("got %v, want the operator's alone: the viewer's token is dead", rows)
	}
	clock.add(13 * time.Hour)
	if rows := k.sessions(k.admin); len(rows) != 0 {
		t.Errorf("got %v, want none after twelve hours", rows)
	}
}

func TestASessionIsEndedFromElsewhereAndTheLogSaysByWhom(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	viewer, operator := k.signIn(k.token("viewer", "keeper:read")), k.signIn(k.admin)
	id := k.sessions("", viewer...)[0]["id"].(string)
	ended := k.want(k.call("DELETE", "/auth/sessions/"+id, "", "", operator...), 200)
	k.wantEntry(ended, "session.ended", `"of":"viewer"`)
	k.wantEntry(ended, "session.ended", `"by":"admin token"`)
	k.wantEntry(ended, "session.ended", `"reason":"ended"`)
	k.want(k.call("GET", "/agents", "", "", viewer...), 401, "session_ended")
	k.want(k.call("DELETE", "/auth/sessions/"+id, "", "", operator...), 404, "not_found")
	k.want(k.call("GET", "/agents", "", "", operator...), 200)
}

func TestWhoMayNotWriteEndsHisOwnSessionsAlone(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	token := k.token("viewer", "keeper:read")
	here, there, operator := k.signIn(token), k.signIn(token), k.signIn(k.admin)
	of := func(header []string) string {
		for _, row := range k.sessions("", header...) {
			if row["own"] == true {
				return row["id"].(string)
			}
		}
		return ""
	}
	k.want(k.call("DELETE", "/auth/sessions/"+of(operator), "", "", here...), 403, "scope_denied")
	k.want(k.call("DELETE", "/auth/sessions/none", "", "", here...), 403, "scope_denied")
	k.want(k.call("DELETE", "/auth/sessions", "", "", here...), 403, "scope_denied")
	k.want(k.call("DELETE", "/auth/sessions/"+of(there), "", ""), 401, "token_missing")
	k.want(k.call("DELETE", "/auth/sessions/"+of(there), "", "", here[:4]...), 401, "session_key_missing")
	k.want(k.call("DELETE", "/auth/sessions/"+of(there), "", "", here...), 200)
	k.want(k.call("GET", "/agents", "", "", there...), 401, "session_ended")
	k.want(k.call("GET", "/agents", "", "", here...), 200)
	k.want(k.call("GET", "/agents", "", "", operator...), 200)
}

func TestAllOtherSessionsEndAtOnce(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	first, second, own := k.signIn(k.admin), k.signIn(k.token("viewer", "keeper:read")), k.signIn(k.admin)
	if got := k.want(k.call("DELETE", "/auth/sessions", "", "", own...), 200); got.body["ended"] != 2.0 {
		t.Errorf("got %s, want two ended", got.raw)
	}
	k.want(k.call("GET", "/agents", "", "", first...), 401, "session_ended")
	k.want(k.call("GET", "/agents", "", "", second...), 401, "session_ended")
	k.want(k.call("GET", "/agents", "", "", own...), 200)
	if got := k.want(k.call("DELETE", "/auth/sessions", k.admin, ""), 200); got.body["ended"] != 1.0 {
		t.Errorf("got %s, want the last one ended: a token has no session of its own", got.raw)
	}
	k.want(k.call("GET", "/agents", "", "", own...), 401, "session_ended")
}
