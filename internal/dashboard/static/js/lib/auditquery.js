// The explorer's filters in the URL, as the routes take them.

import { own } from "./own.js";

const names = ["agentId", "provider", "event", "requestId", "minRisk", "rule", "code", "status", "text"];
const spans = { "15m": 900, "1h": 3600, "24h": 86400, "7d": 604800, "30d": 2592000 };

export const ranges = [["", "all time"], ["15m", "last 15 minutes"], ["1h", "last hour"], ["24h", "last 24 hours"], ["7d", "last 7 days"], ["30d", "last 30 days"], ["custom", "between…"]];

/** What a filter is called. */
export const labels = {
  agentId: "Agent", provider: "Provider", event: "Event", requestId: "Request", minRisk: "Risk", rule: "Rule", code: "Code", status: "Answered", text: "Path has", since: "From", until: "Until",
};

/** The filters alone, without the range: what a live tail takes. */
export function lasting(query) {
  return Object.fromEntries(names.filter((name) => query[name]).map((name) => [name, query[name]]));
}

/** All of them; a range that ends now is counted from now. */
export function filtersOf(query, now = Date.now()) {
  const filters = lasting(query);
  if (own(spans, query.range)) filters.since = new Date(now - own(spans, query.range) * 1000).toISOString();
  else {
    if (query.since) filters.since = query.since;
    if (query.until) filters.until = query.until;
  }
  return filters;
}

export function rangeOf(query) {
  if (own(spans, query.range)) return query.range;
  return query.range === "custom" || query.since || query.until ? "custom" : "";
}

/** A time as the browser's own field has it, in local time, and back. */
export function toField(text) {
  if (!text) return "";
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? "" : new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

export const fromField = (text) => (text ? new Date(text).toISOString() : "");
