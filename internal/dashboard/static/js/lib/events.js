// What the audit log's events are called, and each entry in one line.
import { own } from "./own.js";

/** By event: its name in words. */
export const events = {
  "proxy.request": "Call decided",
  "proxy.response": "Call ended",
  "scan.blocked": "Secret blocked",
  "scan.redacted": "Secret redacted",
  "scan.passed": "Text scanned",
  "token.issued": "Token issued",
  "token.validated": "Token looked at",
  "token.revoked": "Token revoked",
  "agent.registered": "Agent registered",
  "agent.updated": "Agent changed",
  "vault.access": "Vault looked at",
  "vault.modified": "Vault changed",
  "vault.refused": "Credential refused",
  "session.started": "Signed in",
  "session.ended": "Signed out",
  "exception.created": "Exception made",
  "exception.removed": "Exception ended",
  "state.changed": "State recorded",
  "state.accepted": "Foreign state accepted",
  "config.changed": "Settings changed",
  "config.reloaded": "Settings reloaded",
  "config.shared": "Shared settings changed",
  "store.backup": "Backup made",
  "store.restored": "Restored from a backup",
  "audit.pruned": "Old entries left",
  "audit.disputed": "Log disputed",
  "audit.rekeyed": "Log's key changed",
  "keeper.started": "Keeper started",
  "keeper.stopped": "Keeper stopped",
  "keeper.forgotten": "Keeper forgotten",
  error: "Refused by keeper",
};

export const eventName = (event) => own(events, event) || event;

/** By code of a refusal or a failure: the words that follow "because" . */
export const reasons = {
  token_missing: "it showed no keeper token",
  token_invalid: "what it showed is no valid token of this keeper",
  token_expired: "its token had expired",
  token_revoked: "its token or its agent was revoked or disabled",
  scope_denied: "its scopes do not cover that",
  secret_in_request: "there was a secret in the request",
  no_credential: "the vault has no credential that this agent may use there",
  provider_unknown: "there is no such provider",
  host_unknown: "no provider has that host, or that path there",
  host_mismatch: "it named another host than the one that its tunnel was opened to",
  bad_request: "the request could not be read",
  body_undecodable: "its body could not be decoded, so it could not be scanned",
  body_too_large: "its body was over the limit",
  rate_limited: "there were too many attempts, or a quota was used up",
  audit_unavailable: "the audit log could not be written",
  store_unavailable: "the store could not be read",
  keeper_stopping: "keeper was stopping",
  upstream_unreachable: "the provider could not be reached",
  upstream_invalid: "the provider's answer was unusable",
  upstream_timeout: "the provider was too slow",
  redaction_impossible: "a secret in the answer could not be taken out",
  agent_gone: "the agent hung up",
  credentials_invalid: "the agent is unknown or its secret is wrong",
  signin_failed: "the issuer did not say who that is",
  signin_denied: "no rule lets that person sign in",
  code_invalid: "the sign-in code was wrong, used, or too old",
  session_ended: "its session had ended",
  session_key_missing: "the cookie of the dashboard came without its page's key",
  token_needed: "that needs a token, not a session",
  agent_pending: "the agent waits for approval",
  agent_disabled: "the agent is disabled",
  agent_revoked: "the agent is revoked",
  invalid_request: "a field of the request was wrong",
  already_exists: "that name is taken",
  keepers_in_the_way: "the other keepers do not allow it yet",
  not_found: "there is nothing of that name",
  method_not_allowed: "the route does not take that method",
  cross_origin_refused: "a page of another origin made the request",
  registration_queue_full: "too many agents wait for approval",
  exchange_denied: "no rule lets its claims in",
  subject_token_invalid: "the token to be exchanged is not taken",
  subject_token_expired: "the token to be exchanged has expired",
  subject_token_used: "the token was exchanged before",
  issuer_unavailable: "the issuer's keys could not be had",
  unsupported_grant_type: "it asked for another kind of grant",
  invalid_target: "it asked for a token of somebody else",
  audit_tampered: "the audit log was changed from outside",
  vault_corrupt: "the vault's data was changed from outside",
  invalid_configuration: "the configuration is wrong",
  credential_refused: "the provider does not take the credential",
  check_failed: "the provider's answer does not say whether it takes the credential",
  internal: "of a fault of keeper's own",
  internal_error: "of a fault of keeper's own",
};

export const reason = (code) => own(reasons, code) || `of ${code}`;

const rules = (findings = []) => [...new Set(findings.map((f) => f.rule))].join(", ");
const call = (d) => `${d.method || ""} ${d.mode === "forward" || d.mode === "tunnel" ? d.host || "" : ""}${d.mode === "tunnel" ? "" : d.path || ""}`.trim();
const times = (d) => (d.count > 0 ? `, ${d.count} times within a minute` : "");

const lines = {
  "proxy.request": (d) => (d.decision === "forward" ? call(d) : `${call(d)}, refused: ${reason(d.code)}${times(d)}`),
  "proxy.response": (d) => [d.status ? `answered ${d.status}` : "no answer", d.durationMs >= 0 ? `${d.durationMs} ms` : "", d.outcome !== "complete" ? outcomeWord(d.outcome) : "", d.code ? reason(d.code) : ""].filter(Boolean).join(", "),
  "scan.blocked": (d) => `${rules(d.findings)} ${d.path ? "in " + call(d) : "in a text"}`,
  "scan.redacted": (d) => `${rules(d.findings)} in the answer`,
  "scan.passed": () => "no secret of high confidence",
  "token.issued": (d) => (d.scopes || []).join(", "),
  "token.validated": (d) => (d.valid ? "valid" : `not valid: ${d.reason || ""}`),
  "token.revoked": (d) => (d.all ? "all of the agent's" : d.jti || ""),
  "agent.registered": (d) => `${d.status}; ${(d.scopes || []).join(", ") || "no grant"}`,
  "agent.updated": (d) => (d.oldSecretUntil ? `another secret; the last one good until ${d.oldSecretUntil}` : d.status === d.statusBefore ? `grant: ${(d.scopes || []).join(", ") || "nothing"}` : `${d.statusBefore} → ${d.status}`),
  "vault.access": (d) => (d.action === "denied" ? "asked for a credential of others" : d.action),
  "vault.modified": (d) => (d.purpose ? `${d.purpose} key rotated` : [d.label, d.version ? `version ${d.version}` : "", d.action].filter(Boolean).join(", ")),
  "vault.refused": (d) => `${d.label}, version ${d.version}: ${d.reason}`,
  "session.started": (d) => `to the dashboard, ${d.how === "link" ? "with a link" : `by ${d.how}`}`,
  "session.ended": (d) => (d.of ? `that of ${d.of}, from elsewhere` : d.reason),
  "exception.created": (d) => (d.replaces ? `${d.rule}: listed by its new fingerprint` : `${d.rule}: ${d.reason}`),
  "exception.removed": (d) => d.rule,
  "state.changed": (d) => objects(d.objects),
  "state.accepted": (d) => objects(d.objects),
  "config.changed": (d) => (d.settings || []).filter((s) => s.before !== s.after).map((s) => s.name).join(", "),
  "config.reloaded": (d) => [(d.changed || []).join(", ") || "nothing new", d.refused?.length ? `waiting for a start: ${d.refused.join(", ")}` : ""].filter(Boolean).join("; "),
  "config.shared": (d) => (d.after ? "for all keepers on the store" : "none any more"),
  "store.backup": (d) => (d.keys ? "with the vault's key in it" : "without the vault's key"),
  "store.restored": (d) => `as of ${d.backupAt}, over ${d.entries} entries`,
  "audit.pruned": (d) => `entries ${d.first} to ${d.last}`,
  "audit.disputed": (d) => `by the witness ${d.witness}`,
  "audit.rekeyed": (d) => `signed by ${d.after} from the next entry on`,
  "keeper.started": (d) => d.version,
  "keeper.forgotten": (d) => [d.name, d.entries > 0 ? `${d.entries} of its entries are lost` : ""].filter(Boolean).join("; "),
  "keeper.stopped": (d) => d.reason,
  error: (d) => `${d.route}: ${reason(d.code)}${times(d)}`,
};

const objects = (all = []) => all.map((o) => `${o.kind} ${o.id}`).join(", ");
const outcomeWord = (outcome) => ({ cut: "cut off", agent_gone: "the agent hung up", failed: "failed", unknown: "outcome unknown" })[outcome] || outcome;

/** The entry's details in one line. */
export function line(entry) {
  return own(lines, entry.event)?.(entry.details || {}) || "";
}

/** What became of a proxied call by its decision: kind of badge and word. */
export function decision(entry) {
  const d = entry.details || {};
  if (d.decision === "forward") return ["ok", "forwarded"];
  return d.code === "secret_in_request" ? ["bad", "blocked"] : ["warn", "refused"];
}
