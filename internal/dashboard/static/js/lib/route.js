// Where in the dashboard the reader is. It stands in the fragment (#/audit?provider=openai),
// filters too, so that a link shows the same and no server log has it.
import { useEffect, useState } from "./html.js";
import { query } from "./api.js";

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function read(hash = location.hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const parts = path.split("/").filter(Boolean).map(decoded);
  return { page: parts[0] || "overview", rest: parts.slice(1), query: Object.fromEntries(new URLSearchParams(search)) };
}

export function href(page, rest = [], values = {}) {
  return "#/" + [page, ...rest].map(encodeURIComponent).join("/") + query(values);
}

/** The page of an agent; of an operator, whose tests are calls too, there is none. */
export function agentHref(id) {
  return typeof id === "string" && /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(id) ? href("agents", [id]) : undefined;
}

export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const follow = () => setRoute(read());
    window.addEventListener("hashchange", follow);
    window.addEventListener("keeper:route", follow);
    return () => {
      window.removeEventListener("hashchange", follow);
      window.removeEventListener("keeper:route", follow);
    };
  }, []);
  return route;
}

/** Changes the query of the page that is open. Typing replaces; a step that Back should undo is pushed. */
export function setQuery(changes, { push = false } = {}) {
  const now = read();
  const next = href(now.page, now.rest, { ...now.query, ...changes });
  if (next === location.hash) return;
  history[push ? "pushState" : "replaceState"](null, "", next);
  window.dispatchEvent(new CustomEvent("keeper:route"));
}

export function go(page, rest, values) {
  location.hash = href(page, rest, values);
}
