// The frame around the pages: navigation, who is signed in, theme, keys.
import { html, useContext, useEffect, useErrorBoundary, useRef, useState } from "./lib/html.js";
import { href, useRoute } from "./lib/route.js";
import { own } from "./lib/own.js";
import { setTheme, shortcuts, theme } from "./lib/prefs.js";
import { signOut, useSession } from "./lib/session.js";
import { plural } from "./lib/format.js";
import { Icon, Mark } from "./parts/icon.js";
import { Badge, Button, Failure, Lacking, Loading } from "./parts/ui.js";
import { Text, plain } from "./parts/text.js";
import { toastError } from "./parts/toast.js";
import { Story } from "./parts/story.js";
import { Pending, usePending } from "./parts/pending.js";

/** The pages: what the navigation calls them, the scope that they need, and where their code is. */
export const pages = {
  overview: { title: "Overview", needs: "read", load: () => import("./pages/overview.js") },
  agents: { title: "Agents", needs: "read", load: () => import("./pages/agents.js") },
  tokens: { title: "Tokens", needs: "read", load: () => import("./pages/tokens.js") },
  vault: { title: "Vault", needs: "read", load: () => import("./pages/vault.js") },
  providers: { title: "Providers", needs: "read", load: () => import("./pages/providers.js") },
  audit: { title: "Audit", needs: "audit", load: () => import("./pages/audit.js") },
  scanner: { title: "Scanner", needs: "scan", load: () => import("./pages/scanner.js") },
  settings: { title: "Settings", needs: "read", load: () => import("./pages/settings.js") },
};

function Nav({ current }) {
  const { can } = useSession();
  const waiting = useContext(Pending);
  return html`<nav class="nav" aria-label="Pages"><ul>
    ${Object.entries(pages).map(([name, page]) => html`<li key=${name}><a href=${href(name)} aria-current=${name === current ? "page" : undefined}>
      <${Icon} name=${name} />${page.title}
      ${name === "agents" && waiting > 0 && html`<span class="count"><${Badge} kind="warn" plain><span aria-hidden="true">${waiting}</span><span class="hidden-visually">${plural(waiting, "agent waits", "agents wait")} for approval</span><//></span>`}
      ${!can(page.needs) && html`<span class="count" title="Your session lacks this scope"><${Icon} name="lock" size=${13} /><span class="hidden-visually">(your session lacks the scope)</span></span>`}
    </a></li>`)}
  </ul></nav>`;
}

const themes = { system: ["light", "system", "As the system"], light: ["dark", "sun", "Light"], dark: ["system", "moon", "Dark"] };

function ThemeButton() {
  const [now, setNow] = useState(theme);
  const [next, icon, words] = themes[now];
  const turn = () => {
    setTheme(next);
    setNow(next);
  };
  return html`<${Button} icon=${icon} kind="quiet" small onClick=${turn} aria-label=${`Theme: ${words}. Change it`} title=${`Theme: ${words}`} />`;
}

function Foot({ onOut }) {
  const session = useSession();
  const out = () => signOut().then(onOut, toastError);
  return html`<div class="foot">
    <div class="who"><span class="small muted">Signed in as</span><span class="name"><${Text} of=${session.name} /></span></div>
    <div class="row spread"><${Button} small onClick=${out}>Sign out<//><${ThemeButton} /></div>
  </div>`;
}

// "/" goes to the page's search, as it does elsewhere.
function useSearchKey() {
  useEffect(() => {
    const press = (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !shortcuts()) return;
      if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return;
      const field = document.querySelector("main [data-search]");
      if (!field) return;
      event.preventDefault();
      field.focus();
      field.select();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}

/** The page's code, loaded when it is first opened. */
function usePage(name) {
  const [state, setState] = useState({});
  useEffect(() => {
    let left = false;
    own(pages, name)?.load().then(
      (module) => left || setState({ name, view: module.default }),
      () => left || setState({ name, error: new Error("A part of the dashboard could not be loaded. Reload the page; if keeper was upgraded just now, that brings the new one.") }),
    );
    return () => { left = true; };
  }, [name]);
  return state.name === name ? state : {};
}

function Page({ route }) {
  const { can } = useSession();
  const page = own(pages, route.page);
  const { view: View, error } = usePage(route.page);
  const [fault] = useErrorBoundary((thrown) => console.error(thrown));
  if (!page) return html`<div class="card"><div class="state"><h1 tabindex="-1">There is no such page</h1><p><a href=${href("overview")}>Go to the overview</a></p></div></div>`;
  if (!can(page.needs)) return html`<div class="stack"><h1 tabindex="-1">${page.title}</h1><${Lacking} scope=${`keeper:${page.needs}`} /></div>`;
  if (error || fault) return html`<div class="card"><${Failure} error=${error || new Error("This page failed while it was drawn. That is a fault of the dashboard; please report it.")} retry=${() => location.reload()} /></div>`;
  return View ? html`<${View} route=${route} />` : html`<h1 class="hidden-visually">${page.title}</h1><${Loading} lines=${8} />`;
}

// A new page takes the focus to its heading, so that it is read out; the first does not.
function useArrival(where, main) {
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return undefined;
    }
    window.scrollTo(0, 0);
    let tries = 0;
    const timer = setInterval(() => {
      const heading = main.current?.querySelector("h1[tabindex]");
      const elsewhere = main.current?.contains(document.activeElement); // in what somebody types into already
      if (heading && !elsewhere) heading.focus({ preventScroll: true });
      if (heading || elsewhere || ++tries > 20) clearInterval(timer);
    }, 50);
    return () => clearInterval(timer);
  }, [where]);
}

export function Shell({ onOut }) {
  const route = useRoute();
  const [open, setOpen] = useState(false);
  const main = useRef(null);
  const where = [route.page, ...route.rest].join("/");
  useSearchKey();
  useArrival(where, main);
  useEffect(() => {
    setOpen(false);
    document.title = `${plain(route.rest[0]) || own(pages, route.page)?.title || "Not found"} · keeper`;
  }, [where]);
  useEffect(() => {
    const close = (event) => event.key === "Escape" && setOpen(false);
    window.addEventListener("keydown", close);
    return () => window.removeEventListener("keydown", close);
  }, []);
  const waiting = usePending();
  const brand = html`<a class="brand" href=${href("overview")}><${Mark} />keeper</a>`;
  return html`<${Pending.Provider} value=${waiting}><button type="button" class="skip" onClick=${() => main.current.focus()}>Skip to the content</button>
    <div class="frame">
      <header class="top">${brand}<${Button} icon=${open ? "close" : "menu"} kind="quiet" aria-expanded=${String(open)} aria-controls="side" onClick=${() => setOpen(!open)}>Menu<//></header>
      <section class=${`side ${open ? "open" : ""}`} id="side" aria-label="Keeper">${brand}<${Nav} current=${route.page} /><${Foot} onOut=${onOut} /></section>
      <main class="page" id="main" tabindex="-1" ref=${main}><${Page} key=${where} route=${route} /></main>
    </div>
    ${route.query.call && html`<${Story} key=${route.query.call} id=${route.query.call} />`}<//>`;
}
