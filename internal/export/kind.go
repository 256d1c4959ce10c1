package export

import (
	"maps"
	"slices"
	"strings"
)

// class is what kind of event others take an entry for.
type class int

const (
	apiActivity class = iota
	authentication
	detection
	accountChange
	lifecycle
)

// act is what was done, in the few words that all schemas share.
type act int

const (
	other act = iota
	create
	look
	update
	remove
	enable
	disable
	begin
	end
)

// kind is where an event belongs in the schemas of others. Title is for people.
type kind struct {
	title    string
	class    class
	act      act
	category string // of the Elastic Common Schema
}

// kinds is the one table from events to kinds. The act of some depends on details.
var kinds = map[string]kind{
	"proxy.request":     {"Decision on a call to a provider", apiActivity, other, "api"},
	"proxy.response":    {"Outcome of a call to a provider", apiActivity, other, "api"},
	"scan.blocked":      {"Secret found and blocked", detection, create, "intrusion_detection"},
	"scan.redacted":     {"Secret taken out of a response", detection, create, "intrusion_detection"},
	"scan.passed":       {"Text scanned, no secret found", apiActivity, look, "api"},
	"exception.created": {"Scanner told to let a value pass", apiActivity, create, "configuration"},
	"exception.removed": {"Scanner told to let a value pass no more", apiActivity, remove, "configuration"},
	"vault.modified":    {"Vault changed", apiActivity, update, "configuration"},
	"vault.access":      {"Vault looked at", apiActivity, look, "configuration"},
	"vault.refused":     {"Credential refused by its provider", detection, create, "authentication"},
	"token.issued":      {"Token issued", authentication, begin, "authentication"},
	"token.validated":   {"Token validated", authentication, other, "authentication"},
	"token.revoked":     {"Token revoked", authentication, end, "authentication"},
	"session.started":   {"Signed in to the dashboard", authentication, begin, "session"},
	"session.ended":     {"Signed out of the dashboard", authentication, end, "session"},
	"agent.registered":  {"Agent registered", accountChange, create, "iam"},
	"agent.updated":     {"Agent changed", accountChange, update, "iam"},
	"keeper.started":    {"Keeper started", lifecycle, begin, "process"},
	"keeper.stopped":    {"Keeper stopped", lifecycle, end, "process"},
	"keeper.forgotten":  {"Keeper that is gone forgotten", apiActivity, remove, "configuration"},
	"state.changed":     {"Keeper's state changed", apiActivity, update, "configuration"},
	"state.accepted":    {"Changed state accepted by the operator", apiActivity, update, "configuration"},
	"config.changed":    {"Keeper started with other settings", apiActivity, update, "configuration"},
	"config.reloaded":   {"Keeper took other settings over while it ran", apiActivity, update, "configuration"},
	"config.shared":     {"Settings that keepers share changed", apiActivity, update, "configuration"},
	"store.backup":      {"Backup of keeper made", apiActivity, look, "configuration"},
	"store.restored":    {"Keeper started on a restored backup", apiActivity, update, "configuration"},
	"audit.disputed":    {"Audit log disputed by a witness", detection, create, "intrusion_detection"},
	"audit.rekeyed":     {"Key of the audit log changed", apiActivity, update, "configuration"},
	"audit.pruned":      {"Old entries removed from the audit log", apiActivity, remove, "api"},
	"error":             {"Request to keeper refused", apiActivity, other, "api"},
}

var (
	failedAuthentication = kind{"Authentication failed", authentication, begin, "authentication"}

	// authenticationCodes are the codes of an "error" that say who asked is not known.
	authenticationCodes = map[string]bool{
		"token_missing": true, "token_invalid": true, "token_expired": true, "token_revoked": true,
		"subject_token_invalid": true, "subject_token_expired": true, "subject_token_used": true, "exchange_denied": true,
		"code_invalid": true, "session_ended": true, "session_key_missing": true, "signin_failed": true, "signin_denied": true,
		"credentials_invalid": true, "agent_pending": true, "agent_disabled": true, "agent_revoked": true,
	}
	methods = map[string]act{
		"GET": look, "HEAD": look, "OPTIONS": look, "POST": create, "PUT": update, "PATCH": update, "DELETE": remove,
	}
	actions = map[string]act{
		"set": update, "rotated": update, "rekeyed": update, "imported": create, "deleted": remove,
		"withdrawn": update, "restored": update,
		"listed": look, "denied": look,
	}
	standings = map[string]act{"active": enable, "disabled": disable, "revoked": disable, "deleted": remove}

	// verbs are for events that are not in kinds, by the last part of their names.
	verbs = map[string]act{
		"created": create, "registered": create, "added": create, "access": look, "read": look, "exported": look,
		"updated": update, "modified": update, "changed": update, "removed": remove, "deleted": remove,
	}
)

// Event is one that an entry can be of. Title tells people what it is.
type Event struct{ Name, Title string }

// Events are all of them, by name.
func Events() []Event {
	var all []Event
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, Event{name, kinds[name].title})
	}
	return all
}

func kindOf(r *record) kind {
	k, known := kinds[r.Event]
	switch {
	case !known:
		verb := r.Event[strings.LastIndexByte(r.Event, '.')+1:]
		return kind{title: r.Event, act: verbs[verb], category: "api"}
	case r.Event == "error" && authenticationCodes[r.Code]:
		return failedAuthentication
	case r.Event == "proxy.request":
		k.act = methods[r.Method]
	case strings.HasPrefix(r.Event, "vault.") && actions[r.Action] != other:
		k.act = actions[r.Action]
	case r.Event == "agent.updated" && r.standing() != r.StatusBefore && standings[r.standing()] != other:
		k.act = standings[r.standing()]
	}
	return k
}
