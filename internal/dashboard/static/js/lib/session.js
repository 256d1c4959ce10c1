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

/** The code of what went wrong at the issuer, which led back here with it. */
export function takeError() {
  const error = new URLSearchParams(location.hash.slice(1)).get("error");
  if (error) history.replaceState(null, "", location.pathname + "#/overview");
  return error;
}

/** The code in what a person pasted: the link or the code alone. */
export function codeIn(text) {
  const pasted = text.trim();
  const at = pasted.indexOf("#code=");
  return at < 0 ? pasted : decodeURIComponent(pasted.slice(at + 6));
}

/** The session's key, which an issuer's way back ends with. */
export function takeKey() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!key) return;
  history.replaceState(null, "", location.pathname + "#/overview");
  keepKey(key);
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
