// Who is signed in, and what that lets him do.
import { createContext, useContext } from "./html.js";
import { api, ApiError, keepKey, sessionKey } from "./api.js";

export const Session = createContext(null);

const covers = (held, wanted) => held === "*" || held === wanted;

/** Whether the scopes hold keeper:<permission>; "*" asks for the scope of everything. */
export function holds(scopes, permission) {
  return scopes.some((scope) => {
    if (scope === "*") return true;
    const [provider, name] = scope.toLowerCase().split(":");
    return permission !== "*" && covers(provider, "keeper") && covers(name, permission);
  });
}

export function useSession() {
  const session = useContext(Session);
  return { ...session, can: (permission) => holds(session.scopes, permission) };
}

/** The code of a one-time link, taken out of the address before anything else can read it. */
export function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) history.replaceState(null, "", location.pathname + "#/overview");
  return code;
}

const wanted = "keeper.wanted";

/** Keeps which page was asked for while this tab is at the issuer. */
export function keepWanted() {
  try {
    sessionStorage.setItem(wanted, location.hash);
  } catch { /* then it is the overview */ }
}

/** The page that was asked for, once. */
function takeWanted() {
  try {
    const kept = sessionStorage.getItem(wanted) || "";
    sessionStorage.removeItem(wanted);
    return kept.startsWith("#/") ? kept : "#/overview";
  } catch {
    return "#/overview";
  }
}

/** What an issuer's way back ends with, taken out of the address: the page goes on where it was left. */
function takeFromIssuer(name) {
  const value = new URLSearchParams(location.hash.slice(1)).get(name);
  if (value) history.replaceState(null, "", location.pathname + takeWanted());
  return value;
}

/** The code of what went wrong at the issuer. */
export const takeError = () => takeFromIssuer("error");

/** The session's key. */
export function takeKey() {
  const key = takeFromIssuer("key");
  if (key) keepKey(key);
}

/** The code in what a person pasted: the link or the code alone. */
export function codeIn(text) {
  const pasted = text.trim();
  const at = pasted.indexOf("#code=");
  return at < 0 ? pasted : decodeURIComponent(pasted.slice(at + 6));
}

export async function signIn(code) {
  const session = await api.post("/auth/session", { code }, { quiet: true });
  keepKey(session.key);
  return session;
}

export async function whoAmI() {
  const session = await api.get("/auth/session", { quiet: true });
  if (!sessionKey()) throw new ApiError(401, { error: "This browser lost what lets it change anything. Sign in again.", oidc: session.oidc, signInUrl: "/api/v1/auth/oidc/start" });
  return session;
}

export async function signOut() {
  await api.remove("/auth/session", { quiet: true });
  keepKey("");
}
