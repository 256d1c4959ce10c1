// The story of one call in plain sentences, from its entries in the audit log, as
// `keeper explain` tells it.
import { own } from "./own.js";
import { eventName, line, reason } from "./events.js";

const carried = (source) => (source ? ` from ${source}` : "");

function findingSentence(f) {
  return `${f.rule} in ${f.location}${f.form ? ` (${f.form})` : ""}, of ${f.confidence} confidence${f.exempt ? ", which an operator lets pass" : ""}`;
}

function calling(e, d) {
  const who = (e.agentId || "A caller who proved nothing") + carried(d.source);
  const size = d.requestBytes > 0 ? `, with a body of ${d.requestBytes} bytes` : "";
  if (d.mode === "tunnel") return `${who} opened a tunnel to ${d.host}, of ${e.provider}, which is passed on unread.`;
  const how = {
    envelope: " in an envelope",
    forward: ` by way of keeper as its proxy, at host ${d.host || "that it did not name"}`,
  }[d.mode] || "";
  return `${who} called ${d.method} ${d.path} of ${e.provider || "no known provider"}${how}${size}.`;
}

function refused(e, d) {
  const many = d.count > 0 ? ` This stands for ${d.count} refusals of the same kind from there within a minute.` : "";
  return `Keeper refused it because ${reason(d.code)} (${d.code}). Nothing was sent to the provider.${many}`;
}

function forwarded(e, d) {
  const credential = d.version ? `with the credential ${d.label} of ${e.provider}, version ${d.version}` : `without a credential, as ${e.provider} wants it`;
  return `Keeper decided to forward it ${credential}, and wrote that down as entry ${e.id} before it did.`;
}

function tellDecision(e, d) {
  const findings = d.findings || [];
  const told = [{ kind: "", text: calling(e, d) }];
  if (d.jti) told.push({ kind: "ok", text: `The token ${d.jti} was valid, and not revoked when it was looked at.` });
  if (d.carriers?.length) told.push({ kind: "", text: `What it carried as credentials was taken off: ${d.carriers.join(", ")}.` });
  if (d.scope) told.push({ kind: "ok", text: `Its scope ${d.scope} covers the call.` });
  for (const f of findings) told.push({ kind: f.confidence === "high" && !f.exempt ? "bad" : "warn", text: `The scan of the request found ${findingSentence(f)}.`, finding: f });
  if (d.decision !== "forward") return [...told, { kind: "bad", text: refused(e, d) }];
  if (findings.length === 0 && d.mode !== "tunnel") told.push({ kind: "ok", text: "The scan of the request found no secret." });
  return [...told, { kind: "ok", text: forwarded(e, d) }];
}

const outcomes = {
  complete: ["ok", "The agent got the whole answer."],
  cut: ["bad", "The answer was cut off before its end."],
  agent_gone: ["warn", "The agent hung up before the end."],
  failed: ["bad", "The call failed."],
  unknown: ["bad", "Keeper was killed before the end: whether the provider was called, and what it answered, is not known."],
};

function tellOutcome(e, d) {
  const measured = d.durationMs > 0 || d.status > 0 ? `, ${d.responseBytes} bytes in ${d.durationMs} ms` : "";
  const answered = { kind: d.status >= 400 || !d.status ? "warn" : "ok", text: (d.status > 0 ? `The provider answered ${d.status}` : "The provider gave no answer") + measured + "." };
  const [kind, text] = own(outcomes, d.outcome) || ["", `What became of it is called ${d.outcome}.`];
  const told = [answered, { kind, text: text + (d.code ? ` Why: ${reason(d.code)} (${d.code}).` : "") }];
  if (d.credentialRefused) told.splice(1, 0, { kind: "bad", text: "The provider did not take the credential." });
  return told;
}

function tellBlocked(e, d) {
  return e.provider ? [] : tellOther(e, d); // of a call, the decision tells it
}

const tellRedacted = (e, d) => (d.findings || []).map((f) => ({ kind: "warn", text: `In the answer keeper found ${findingSentence(f)}, and replaced it before the agent saw it.`, finding: f }));

function tellAccess(e, d) {
  if (d.action !== "denied") return tellOther(e, d);
  return [{ kind: "bad", text: `${e.agentId} asked for a credential of ${e.provider} that only others may use.` }];
}

const tellRefusedCredential = (e, d) => [{ kind: "bad", text: `The credential ${e.provider}@${d.label}, version ${d.version}, is not taken: ${d.reason}. It is marked as refused until a call with it succeeds.` }];

function tellRefused(e, d) {
  const who = d.by || e.agentId || "A caller who proved nothing";
  return [{ kind: "warn", text: `${who}${carried(d.source)} was refused on ${d.route} because ${reason(d.code)} (${d.code}).` }];
}

function tellOther(e, d) {
  const about = [e.agentId, e.provider].filter(Boolean).join(", ");
  const words = line(e);
  return [{ kind: e.risk > 0 ? "warn" : "", text: `${eventName(e.event)}${about && ` (${about})`}${d.by ? ` by ${d.by}` : ""}${words && `: ${words}`}.` }];
}

const tellers = {
  "proxy.request": tellDecision, "proxy.response": tellOutcome, "scan.blocked": tellBlocked, "scan.redacted": tellRedacted,
  "vault.access": tellAccess, "vault.refused": tellRefusedCredential, error: tellRefused,
};

/** The entries' story, oldest first: { kind, text, at, entry, finding? }; kind is "", "ok", "warn" or "bad". */
export function story(entries) {
  return entries.flatMap((e) => (own(tellers, e.event) || tellOther)(e, e.details || {}).map((one) => ({ ...one, at: e.timestamp, entry: e.id })));
}

/** How it ended, in a word for the head of the story. */
export function verdict(entries) {
  const decided = entries.find((e) => e.event === "proxy.request");
  const ended = entries.find((e) => e.event === "proxy.response");
  if (!decided) return null;
  if (decided.details.decision !== "forward") return decided.details.code === "secret_in_request" ? ["bad", "Blocked"] : ["warn", "Refused"];
  if (!ended) return ["accent", "Under way"];
  if (ended.details.outcome !== "complete") return ["bad", { cut: "Cut off", agent_gone: "Agent hung up", failed: "Failed" }[ended.details.outcome] || "Unknown end"];
  return entries.some((e) => e.event === "scan.redacted") ? ["warn", "Redacted"] : ["ok", "Complete"];
}
