// Keeper's JSON API, with the cookie of the session.
const root = "/api/v1";

/** An answer that is no success. Its message is keeper's own sentence, for people. */
export class ApiError extends Error {
  constructor(status, body = {}) {
    super(body.error || `Keeper answered ${status} without saying why.`);
    this.status = status;
    this.code = body.code || "";
    this.requestId = body.requestId || "";
    this.body = body;
  }
}

// Cookies go to every server of this host, whatever its port; what a page stores is its
// origin's own. So keeper lets the cookie change nothing without the key stored here.
const place = "keeper.session";
let kept = "";

export function keepKey(key) {
  kept = key;
  try {
    if (key) localStorage.setItem(place, key);
    else localStorage.removeItem(place);
  } catch { /* storage is off: it holds until the page is left */ }
}

/** The key of the session, "" where there is none: then nothing can be changed. */
export function sessionKey() {
  try {
    return localStorage.getItem(place) || kept;
  } catch {
    return kept;
  }
}

/** Sent to the window when keeper no longer knows the session. */
export const signedOut = "keeper:signedout";

async function answerOf(response) {
  const text = await response.text();
  try {
    return text ? JSON.parse(text) : {};
  } catch {
    return {};
  }
}

async function call(method, path, body, { signal, quiet } = {}) {
  const init = { method, signal, credentials: "same-origin", cache: "no-store", headers: { Accept: "application/json" } };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  if (method !== "GET") init.headers["Keeper-Session-Key"] = sessionKey();
  let response;
  try {
    response = await fetch(root + path, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { error: "Keeper cannot be reached. Is it running?", code: "unreachable" });
  }
  const answer = await answerOf(response);
  if (response.ok) return answer;
  if (response.status === 401 && !quiet) window.dispatchEvent(new CustomEvent(signedOut));
  throw new ApiError(response.status, answer);
}

export const api = {
  get: (path, options) => call("GET", path, undefined, options),
  post: (path, body = {}, options) => call("POST", path, body, options),
  patch: (path, body, options) => call("PATCH", path, body, options),
  remove: (path, options) => call("DELETE", path, undefined, options),
};

/** The query of an address: what is empty is left out. */
export function query(values) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== null && value !== "") params.set(name, value);
  }
  const text = params.toString();
  return text && `?${text}`;
}

/** The address of a route, for links and event streams. */
export const address = (path, values = {}) => root + path + query(values);

export const segment = encodeURIComponent;
