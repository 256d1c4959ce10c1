// The audit explorer: filters and facets, entries, live tail, export, state of the log.
import { html, useEffect, useState } from "../lib/html.js";
import { api, query } from "../lib/api.js";
import { setQuery } from "../lib/route.js";
import { useLoad } from "../lib/load.js";
import { count } from "../lib/format.js";
import { EntryTable } from "../parts/calls.js";
import { Entry } from "../parts/story.js";
import { useTail } from "../parts/tail.js";
import { Facets, Filters, Chosen } from "../parts/auditfilters.js";
import { Export } from "../parts/export.js";
import { LogState } from "../parts/logstate.js";
import { filtersOf } from "../lib/auditquery.js";
import { Button, Empty, Heading, Loaded } from "../parts/ui.js";

const page = 100;
const most = 1000; // entries that the table holds while it is live

/** Pages of entries, newest first: the first is kept fresh, older ones are asked for. */
function useEntries(filters) {
  const key = JSON.stringify(filters);
  const first = useLoad((signal) => api.get("/audit" + query({ ...filtersOf(filters), limit: page }), { signal }), [key]);
  const [older, setOlder] = useState({ key, entries: [], cursor: null, busy: false, error: null });
  const own = older.key === key ? older : { key, entries: [], cursor: null, busy: false, error: null };
  const cursor = own.entries.length > 0 || own.cursor === "" ? own.cursor : first.data?.nextCursor;
  const more = async () => {
    setOlder({ ...own, busy: true, error: null });
    try {
      const next = await api.get("/audit" + query({ ...filtersOf(filters), limit: page, cursor }));
      setOlder({ key, entries: [...own.entries, ...next.entries.reverse()], cursor: next.nextCursor || "", busy: false, error: null });
    } catch (error) {
      setOlder({ ...own, busy: false, error });
    }
  };
  const entries = first.data ? [...[...first.data.entries].reverse(), ...own.entries] : [];
  return { first, entries, cursor, more, busy: own.busy, error: own.error };
}

function merged(live, entries) {
  const seen = new Set(live.map((e) => e.id));
  return [...live, ...entries.filter((e) => !seen.has(e.id))].slice(0, Math.max(most, entries.length));
}

function Live({ tail }) {
  return html`<span class="row" role="status">
    <span class=${`badge ${tail.state === "open" ? "ok" : "warn"}`}>${tail.state === "open" ? (tail.paused ? "paused" : "live") : "connecting"}</span>
    ${tail.paused && tail.waiting > 0 && html`<span class="small muted">${count(tail.waiting)} new</span>`}
  </span>`;
}

export default function Audit({ route }) {
  const { call, live: on, ...filters } = route.query; // whose story is open filters nothing
  const live = on === "1";
  const list = useEntries(filters);
  const tail = useTail(filters, live, list.first.reload);
  const [entry, setEntry] = useState(null);
  const [exporting, setExporting] = useState(false);
  useEffect(() => tail.clear(), [JSON.stringify(filtersOf(filters))]);
  const rows = merged(tail.entries, list.entries);
  return html`<div class="stack">
    <${Heading} title="Audit" lead="Every decision that keeper took, written down before its effect, signed, and never changed.">
      ${live && html`<${Live} tail=${tail} /><${Button} icon=${tail.paused ? "play" : "pause"} onClick=${tail.toggle}>${tail.paused ? "Go on" : "Pause"}<//>`}
      <${Button} aria-pressed=${String(live)} kind=${live ? "primary" : ""} onClick=${() => setQuery({ live: live ? "" : "1" })}>${live ? "Stop live tail" : "Live tail"}<//>
      <${Button} icon="download" onClick=${() => setExporting(true)}>Export…<//>
    <//>
    <${LogState} />
    <${Filters} filters=${filters} />
    <${Chosen} filters=${filters} />
    <div class="explorer">
      <${Facets} filters=${filters} />
      <div class="card results"><${Loaded} of=${list.first} lines=${10}>${() => (rows.length > 0
        ? html`<${EntryTable} rows=${rows} onOpen=${setEntry} />
          <div class="more">${list.cursor
            ? html`<${Button} onClick=${list.more} disabled=${list.busy}>${list.busy ? "Looking…" : "Show older entries"}<//>`
            : html`<span class="muted small">These are all.</span>`}${list.error && html`<span class="tone-bad small">${list.error.message}</span>`}</div>`
        : html`<${Empty} level=${2} title="No entry matches">${list.cursor ? html`<p>The newest entries were looked at. Older ones may match.</p><${Button} onClick=${list.more} disabled=${list.busy}>Look further back<//>` : html`<p>Take a filter away, or choose a longer time.</p>`}<//>`)}<//></div>
    </div>
    ${entry && html`<${Entry} entry=${entry} onClose=${() => setEntry(null)} />`}
    ${exporting && html`<${Export} filters=${filters} onClose=${() => setExporting(false)} />`}
  </div>`;
}
