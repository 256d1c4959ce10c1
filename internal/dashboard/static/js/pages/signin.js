// The way in: a one-time link, or the organisation's own sign-in.
import { html, useState } from "../lib/html.js";
import { codeIn, keepWanted, signIn } from "../lib/session.js";
import { useAction } from "../lib/load.js";
import { Mark } from "../parts/icon.js";
import { Note, Problem } from "../parts/ui.js";

/** Only an address of keeper's own is followed. */
function ownAddress(url) {
  try {
    return Boolean(url) && new URL(url, location.href).origin === location.origin;
  } catch {
    return false;
  }
}

export function SignIn({ why, signInUrl, onIn }) {
  const [text, setText] = useState("");
  const entering = useAction(async () => onIn(await signIn(codeIn(text))));
  const submit = (event) => {
    event.preventDefault();
    entering.run();
  };
  const issuer = ownAddress(signInUrl);
  return html`<main class="sign"><div class="card box">
    <div class="stack tight"><${Mark} /><h1>Sign in to keeper</h1></div>
    ${why && html`<${Note} kind="warn" role="status">${why}<//>`}
    ${issuer && html`<a class="button primary" href=${signInUrl} onClick=${keepWanted}>Sign in with your organisation</a><div class="or small">or by a link</div>`}
    <div class="stack tight"><p class="muted">${issuer ? "A link works once." : "The dashboard opens by a link that works once."} On the machine where keeper runs, or where <code>KEEPER_URL</code> and <code>KEEPER_TOKEN</code> are set:</p>
      <pre class="command">keeper login</pre></div>
    <form class="stack" onSubmit=${submit}>
      <div class="field"><label for="code">Link or code</label>
        <input id="code" class="input mono" type="password" autocomplete="one-time-code" spellcheck=${false} value=${text} onInput=${(e) => setText(e.target.value)} placeholder="Paste it here" /></div>
      <${Problem} error=${entering.error} />
      <button class=${`button ${issuer ? "" : "primary"}`} disabled=${!text.trim() || entering.busy}>Sign in</button>
    </form>
  </div></main>`;
}
