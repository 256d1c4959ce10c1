// What a person chose about the dashboard itself, kept in this browser.
function stored(name) {
  try {
    return localStorage.getItem("keeper." + name);
  } catch {
    return null;
  }
}

function store(name, value) {
  try {
    if (value === null) localStorage.removeItem("keeper." + name);
    else localStorage.setItem("keeper." + name, value);
  } catch { /* storage is off: it holds until the page is left */ }
}

/** "light", "dark", or "system". */
export const theme = () => document.documentElement.dataset.theme || "system";

export function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  store("theme", name === "system" ? null : name);
  window.dispatchEvent(new CustomEvent("keeper:theme"));
}

export const shortcuts = () => stored("shortcuts") !== "off";
export const setShortcuts = (on) => store("shortcuts", on ? null : "off");
