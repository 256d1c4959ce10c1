// The start: takes the code of a one-time link, asks who is signed in, and shows the
// dashboard or the way in.
import { html, render, useEffect, useState } from "./lib/html.js";
import { reasons } from "./lib/events.js";
import { own } from "./lib/own.js";
import { signedOut } from "./lib/api.js";
import { Session, signIn, takeCode, takeError, takeKey, whoAmI } from "./lib/session.js";
import { pages, Shell } from "./shell.js";
import { read } from "./lib/route.js";
import { SignIn } from "./pages/signin.js";
import { Toasts } from "./parts/toast.js";

const code = takeCode();
const refusal = takeError();
takeKey();
own(pages, read().page)?.load().catch(() => {}); // while it is asked who is signed in; the shell says what fails

/** By code: what is told to whoever comes back from the issuer without a session. */
const turnedAway = {
  signin_denied: "Your organisation knows you, but no rule of this keeper lets you in. Ask whoever runs it to let in you or a group that you are in.",
  signin_failed: "The sign-in was broken off, took over ten minutes, or was begun in another browser. Try again.",
  issuer_unavailable: "Your organisation's sign-in cannot be reached by keeper now. Try again in a moment, or use a link.",
  rate_limited: "Too many sign-ins failed from your address. Wait a second and try again.",
};

/** begun: { session } of who is in, or { why, oidc } where nobody is. */
async function begin() {
  try {
    return { session: code ? await signIn(code) : await whoAmI() };
  } catch (error) {
    return outside(error, whyNot());
  }
}

function whyNot() {
  if (code) return "The link does not let you in: it works once, within five minutes of being made. Make another.";
  if (refusal) return own(turnedAway, refusal) || `You are not signed in: ${own(reasons, refusal) || "the issuer's answer does not let you in"}.`;
  return "";
}

function outside(error, why = "") {
  const signInUrl = error.body?.oidc ? error.body.signInUrl : undefined;
  const trouble = error.status === 401 || error.status === undefined ? why : error.message;
  return { why: trouble, signInUrl };
}

function App() {
  const [state, setState] = useState(null);
  useEffect(() => {
    begin().then(setState);
    const leave = async () => setState(outside(await whoAmI().catch((error) => error), "Your session has ended. Sign in again to go on."));
    window.addEventListener(signedOut, leave);
    return () => window.removeEventListener(signedOut, leave);
  }, []);
  const out = async () => setState(outside(await whoAmI().catch((error) => error), "You are signed out."));
  if (!state) return null;
  if (!state.session) return html`<${SignIn} why=${state.why} signInUrl=${state.signInUrl} onIn=${(session) => setState({ session })} />`;
  return html`<${Session.Provider} value=${state.session}><${Shell} onOut=${out} /><${Toasts} /><//>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
