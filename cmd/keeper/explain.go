package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func newExplain(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain REQUEST-ID",
		Short: "Tell the whole story of one call",
		Long: `Tell the whole story of one call, from its entries in the audit log: who called,
which scope allowed it, what was found where, what was done, and why. The id is
in the answer's header Keeper-Request-Id and in each of its entries.`,
		Example: "  keeper explain req_5f0c…\n  keeper explain req_5f0c… --json",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer auditAnswer
			query := url.Values{"requestId": {args[0]}, "limit": {"1000"}}
			if _, err := c.call(cmd.Context(), http.MethodGet, "/audit?"+query.Encode(), nil, &answer); err != nil {
				return err
			}
			if len(answer.Entries) == 0 {
				return &failure{code: exitNotFound, message: fmt.Sprintf("the audit log has no call %q; its id is in the answer's header Keeper-Request-Id and in `keeper audit ls --json`", args[0])}
			}
			told := explained{RequestID: args[0], Story: story(answer.Entries), Entries: answer.Entries}
			return a.show(told, func() error {
				for _, sentence := range told.Story {
					fmt.Fprintln(a.out, printable(sentence))
				}
				return nil
			})
		},
	}
}

// explained is the story of a call as scripts read it.
type explained struct {
	RequestID string       `json:"requestId"`
	Story     []string     `json:"story"`
	Entries   []auditEntry `json:"entries"`
}

// told is what a story says of an entry.
type told struct {
	Method       string    `json:"method"`
	Host         string    `json:"host"`
	Path         string    `json:"path"`
	Mode         string    `json:"mode"`
	RequestBytes int64     `json:"requestBytes"`
	Carriers     []string  `json:"carriers"`
	Decision     string    `json:"decision"`
	Code         string    `json:"code"`
	Count        int       `json:"count"`
	JTI          string    `json:"jti"`
	Scope        string    `json:"scope"`
	Label        string    `json:"label"`
	Version      int       `json:"version"`
	Findings     []finding `json:"findings"`
	Outcome      string    `json:"outcome"`
	Status       int       `json:"status"`
	Bytes        int64     `json:"responseBytes"`
	DurationMS   int64     `json:"durationMs"`
	Route        string    `json:"route"`
	By           string    `json:"by"`
	Source       string    `json:"source"`
	Action       string    `json:"action"`
	Reason       string    `json:"reason"`
}

// story tells the entries of one call, oldest first, in sentences.
func story(entries []auditEntry) (sentences []string) {
	for _, e := range entries {
		var d told
		raw, _ := json.Marshal(e.Details) // it was decoded from JSON
		if err := json.Unmarshal(raw, &d); err != nil {
			d = told{} // another event's field of the same name: its summary tells it
		}
		tell := tellers[e.Event]
		if tell == nil {
			tell = tellOther
		}
		sentences = append(sentences, tell(e, d)...)
	}
	return sentences
}

// tellers tell an entry by its event; scan.blocked is told with the refusal beside it.
var tellers = map[string]func(auditEntry, told) []string{
	"proxy.request":  tellDecision,
	"proxy.response": tellOutcome,
	"scan.blocked":   tellBlocked,
	"scan.redacted":  tellRedacted,
	"vault.access":   tellAccess,
	"vault.refused":  tellRefusedCredential,
	"error":          tellRefused,
}

func tellDecision(e auditEntry, d told) []string {
	who := cmp.Or(e.AgentID, "A caller who proved nothing")
	call := fmt.Sprintf("%s: %s%s called %s %s of %s", when(e.Timestamp), who, from(d.Source), d.Method, d.Path, cmp.Or(e.Provider, "no known provider"))
	switch d.Mode {
	case "envelope":
		call += " in an envelope"
	case "forward":
		call += " by way of keeper as its proxy, at host " + cmp.Or(d.Host, "that it did not name")
	case "check":
		call = fmt.Sprintf("%s: %s%s tested a credential of %s, by %s %s", when(e.Timestamp), who, from(d.Source), e.Provider, d.Method, d.Path)
	case "tunnel":
		call = fmt.Sprintf("%s: %s%s opened a tunnel to %s, of %s, which is passed on unread", when(e.Timestamp), who, from(d.Source), d.Host, e.Provider)
	}
	if d.RequestBytes > 0 {
		call += fmt.Sprintf(", with a body of %d bytes", d.RequestBytes)
	}
	all := []string{call + "."}
	if d.JTI != "" {
		all = append(all, fmt.Sprintf("The token %s was valid, and not revoked when it was looked at.", d.JTI))
	}
	if len(d.Carriers) > 0 {
		all = append(all, "What it carried as credentials was taken off: "+strings.Join(d.Carriers, ", ")+".")
	}
	if d.Scope != "" {
		all = append(all, fmt.Sprintf("Its scope %s covers the call.", d.Scope))
	}
	for _, f := range d.Findings {
		all = append(all, "The scan of the request found "+f.sentence()+".")
	}
	if d.Decision != "forward" {
		return append(all, tellRefusal(e, d))
	}
	if len(d.Findings) == 0 && d.Mode != "tunnel" {
		all = append(all, "The scan of the request found no secret.")
	}
	if d.Version == 0 {
		return append(all, fmt.Sprintf("Keeper decided to forward it without a credential, as %s wants it, and wrote that down as entry %s before it did.", e.Provider, e.ID))
	}
	return append(all, fmt.Sprintf("Keeper decided to forward it with the credential %s of %s, version %d, and wrote that down as entry %s before it did.", d.Label, e.Provider, d.Version, e.ID))
}

func tellRefusal(e auditEntry, d told) string {
	text := fmt.Sprintf("Keeper refused it: %s (%s). Nothing was sent to the provider; entry %s.", reason(d.Code), d.Code, e.ID)
	if d.Count > 0 {
		text += fmt.Sprintf(" This stands for %d refusals of the same kind from there within a minute.", d.Count)
	}
	return text
}

func tellOutcome(e auditEntry, d told) []string {
	answered := "The provider gave no answer"
	if d.Status > 0 {
		answered = fmt.Sprintf("The provider answered %d", d.Status)
	}
	if d.DurationMS > 0 || d.Status > 0 {
		answered += fmt.Sprintf(", %d bytes in %d ms", d.Bytes, d.DurationMS)
	}
	became := cmp.Or(outcomes[d.Outcome], "What became of it is called "+d.Outcome+".")
	if d.Code != "" {
		became += fmt.Sprintf(" Why: %s (%s).", reason(d.Code), d.Code)
	}
	return []string{answered + ".", became + " Entry " + e.ID + "."}
}

var outcomes = map[string]string{
	"complete":   "The agent got the whole answer.",
	"cut":        "The answer was cut off before its end.",
	"agent_gone": "The agent hung up before the end.",
	"failed":     "The call failed.",
	"unknown":    "Keeper was killed before the end: whether the provider was called, and what it answered, is not known.",
}

func tellBlocked(e auditEntry, d told) []string {
	if e.Provider != "" {
		return nil
	}
	return tellOther(e, d)
}

func tellRedacted(e auditEntry, d told) []string {
	var all []string
	for _, f := range d.Findings {
		all = append(all, "In the answer keeper found "+f.sentence()+", and replaced it before the agent saw it.")
	}
	return all
}

func tellAccess(e auditEntry, d told) []string {
	if d.Action != "denied" {
		return tellOther(e, d)
	}
	return []string{fmt.Sprintf("%s asked for a credential of %s that only others may use.", e.AgentID, e.Provider)}
}

func tellRefusedCredential(e auditEntry, d told) []string {
	return []string{fmt.Sprintf("The credential %s@%s, version %d, is not taken: %s. It is marked as refused until a call with it succeeds.", e.Provider, d.Label, d.Version, d.Reason)}
}

func tellRefused(e auditEntry, d told) []string {
	who := cmp.Or(d.By, e.AgentID, "A caller who proved nothing")
	return []string{fmt.Sprintf("%s: %s%s was refused on %s: %s (%s).", when(e.Timestamp), who, from(d.Source), d.Route, reason(d.Code), d.Code)}
}

// tellOther names an event of which there is no more to tell.
func tellOther(e auditEntry, d told) []string {
	who := cmp.Or(d.By, e.AgentID, "keeper")
	return []string{fmt.Sprintf("%s: %s by %s: %s.", when(e.Timestamp), e.Event, who, cmp.Or(e.summary(), "no details"))}
}

func from(source string) string {
	if source == "" {
		return ""
	}
	return " from " + source
}

// reason says in words what a code stands for.
func reason(code string) string { return cmp.Or(reasons[code], "see docs/errors.md#"+code) }

var reasons = map[string]string{
	"token_missing":        "it showed no keeper token",
	"token_invalid":        "what it showed is no valid token of this keeper",
	"token_expired":        "its token had expired",
	"token_revoked":        "its token or its agent was revoked or disabled",
	"scope_denied":         "its scopes do not cover that",
	"secret_in_request":    "there was a secret in the request",
	"no_credential":        "the vault has no credential that this agent may use there",
	"provider_unknown":     "there is no such provider",
	"host_unknown":         "no provider has that host, or that path there",
	"host_mismatch":        "it named another host than the one that its tunnel was opened to",
	"bad_request":          "the request could not be read",
	"body_undecodable":     "its body could not be decoded, so it could not be scanned",
	"body_too_large":       "its body was over the limit",
	"rate_limited":         "too many attempts from that address had failed, or a quota was used up",
	"audit_unavailable":    "the audit log could not be written",
	"store_unavailable":    "the store could not be read",
	"keeper_stopping":      "keeper was stopping",
	"upstream_unreachable": "the provider could not be reached",
	"upstream_invalid":     "the provider's answer was unusable",
	"upstream_timeout":     "the provider was too slow",
	"redaction_impossible": "a secret in the answer could not be taken out",
	"agent_gone":           "the agent hung up",
	"credentials_invalid":  "the agent is unknown or its secret is wrong",
	"code_invalid":         "the link to sign in was used before, or is too old",
	"session_ended":        "the session of the dashboard has ended",
	"session_key_missing":  "the cookie of the dashboard came without its page's key",
	"signin_failed":        "the issuer did not say who it is",
	"signin_denied":        "no rule lets that person sign in",
	"token_needed":         "a session of the dashboard may not do that",
}
