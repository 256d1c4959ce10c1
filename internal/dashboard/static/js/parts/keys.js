// Keeper's signing keys, and their rotation.
import { html, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { Confirm } from "./dialog.js";
import { Button, Card, Loaded } from "./ui.js";
import { toast } from "./toast.js";

async function published(signal) {
  const response = await fetch("/.well-known/jwks.json", { signal });
  if (!response.ok) throw new Error("The signing keys cannot be had.");
  return (await response.json()).keys;
}

export function Keys() {
  const { can } = useSession();
  const [open, setOpen] = useState(false);
  const keys = useLoad(published);
  const rotate = async () => {
    const answer = await api.post("/keys/rotate", { purpose: "signing" });
    setOpen(false);
    keys.reload();
    toast(answer.message);
  };
  return html`<${Card} title="Signing keys" aside=${can("*") && html`<${Button} small icon="rotate" onClick=${() => setOpen(true)}>Rotate…<//>`}>
    <${Loaded} of=${keys} lines=${2}>${(all) => html`<div class="stack tight"><p class="muted small">Tokens are signed with one of these; who checks them reads <a href="/.well-known/jwks.json" target="_blank" rel="noopener">the published keys</a>.</p>
      <ul class="stack tight">${all.map((key) => html`<li key=${key.kid} class="row"><code class="break">${key.kid}</code><span class="muted small">${key.alg || key.kty}</span></li>`)}</ul></div>`}<//>
    ${open && html`<${Confirm} title="Rotate the signing key?" action="Rotate" onConfirm=${rotate} onClose=${() => setOpen(false)}><p>New tokens are signed with a new key. Those signed with the last one stay valid until they end.</p><//>`}
  <//>`;
}
