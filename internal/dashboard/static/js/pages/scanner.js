// The scanner to try out: a text goes in, what it finds comes out.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { useAction } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { bytes, plural } from "../lib/format.js";
import { marked } from "../lib/spans.js";
import { AllowForm } from "../parts/allow.js";
import { Badge, Button, Card, Copy, Empty, Heading, Note, Problem } from "../parts/ui.js";
import { Text } from "../parts/text.js";
import { toastError } from "../parts/toast.js";

const kinds = { high: "bad", medium: "warn", low: "" };

/** The text with what was found highlighted; each place leads to its finding. */
function Highlighted({ text, findings }) {
  return html`<pre class="command scanned" tabindex="0" aria-label="The text, with what was found highlighted">${marked(text, findings).map((piece, i) => (piece.finding === null
    ? html`<${Text} key=${i} of=${piece.text} keep=${"\n\t"} />`
    : html`<mark key=${i} class=${findings[piece.finding].confidence}><${Text} of=${piece.text} keep=${"\n\t"} /><sup>${piece.finding + 1}</sup></mark>`))}</pre>`;
}

function Finding({ finding: f, number, onAllow }) {
  return html`<li class="finding"><div class="row spread start">
      <div class="named grow"><span class="row"><span class="muted num">${number}</span><strong><${Text} of=${f.rule} /></strong><${Badge} kind=${kinds[f.confidence]}>${f.confidence} confidence<//>${f.exempt && html`<${Badge} kind="accent" plain>let pass<//>`}</span>
        <span><${Text} of=${f.description} /></span>
        <span class="small muted">Line ${f.line}, column ${f.column}${f.form && html`, hidden as <${Text} of=${f.form} />`} · <${Text} of=${f.location} />${f.preview && html` · <code><${Text} of=${f.preview} /></code>`}</span></div>
      ${f.fingerprint && !f.exempt && onAllow && html`<${Button} small onClick=${() => onAllow(f)}>Let it pass…<//>`}
    </div></li>`;
}

function Result({ result, text, onAllow }) {
  const { findings, safe, sanitized } = result;
  if (findings.length === 0) return html`<${Note} kind="ok"><strong>Nothing was found.</strong> A call with this text would pass.<//>`;
  return html`<div class="stack">
    <${Note} kind=${safe ? "warn" : "bad"}><strong>${safe ? "This would pass." : "A call with this text would be refused."}</strong> ${plural(findings.length, "finding")}${safe ? ", none of high confidence that is not let pass." : ". In an answer, it would be replaced before the agent sees it."}<//>
    <${Card} title="Where"><${Highlighted} text=${text} findings=${findings} /><//>
    <${Card} title="What" flush><ol>${findings.map((f, i) => html`<${Finding} key=${i} finding=${f} number=${i + 1} onAllow=${onAllow} />`)}</ol><//>
    ${sanitized !== null && html`<${Card} title="What an agent would see in an answer" aside=${html`<${Copy} text=${sanitized} />`}><pre class="command scanned" tabindex="0" aria-label="The sanitized text"><${Text} of=${sanitized} keep=${"\n\t"} /></pre><//>`}
  </div>`;
}

export default function Scanner() {
  const { can } = useSession();
  const [text, setText] = useState("");
  const [done, setDone] = useState(null); // { text, result }
  const [allowing, setAllowing] = useState(null);
  const turn = useRef(0); // the last scan that was asked for is the one that shows
  const scan = async () => {
    const mine = ++turn.current;
    const result = await api.post("/scan", { text });
    if (mine === turn.current) setDone({ text, result });
  };
  const scanning = useAction(scan);
  useEffect(() => () => setDone(null), []);
  const submit = (event) => {
    event.preventDefault();
    scanning.run();
  };
  const keys = (event) => (event.ctrlKey || event.metaKey) && event.key === "Enter" && scanning.run();
  return html`<div class="stack">
    <${Heading} title="Scanner" lead="What would keeper find in a text? It looks as it does at calls on their way; the text is kept nowhere, and what is found is noted in the audit log without it." />
    <div class="scanner">
      <form class="stack tight" onSubmit=${submit}>
        <div class="field"><label for="scan-text">Text</label><textarea id="scan-text" data-search rows="14" value=${text} onInput=${(e) => setText(e.target.value)} onKeyDown=${keys} spellcheck=${false} autocomplete="off" placeholder="Paste a prompt, a log, a file…" /></div>
        <div class="row spread"><span class="small muted">${bytes(new Blob([text]).size)}</span><span class="row">${text && html`<${Button} onClick=${() => { setText(""); setDone(null); }}>Clear<//>`}
          <button class="button primary" disabled=${!text || scanning.busy} aria-keyshortcuts="Control+Enter">${scanning.busy ? "Looking…" : "Scan"}</button></span></div>
        <${Problem} error=${scanning.error} />
      </form>
      <div aria-live="polite">${done ? html`<${Result} result=${done.result} text=${done.text} onAllow=${can("*") ? setAllowing : null} />` : html`<div class="card"><${Empty} title="Nothing scanned yet" level=${2}><p>Findings show here, with their places in the text. <kbd>Ctrl</kbd> <kbd>Enter</kbd> scans.</p><//></div>`}</div>
    </div>
    ${allowing && html`<${AllowForm} fingerprint=${allowing.fingerprint} rule=${allowing.rule} onClose=${() => setAllowing(null)} onDone=${() => scan().catch(toastError)} />`}
  </div>`;
}
