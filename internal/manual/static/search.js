// Folds the list of routes where it does not stand beside them, and hides those that do not hold
// every word of the search. Without it the page shows all of them, and the browser's own
// search finds its way.
"use strict";

const field = document.getElementById("search");
const found = document.getElementById("found");
const routes = document.getElementById("routes"); // which would fill a narrow screen many times
if (!matchMedia("(min-width: 60rem)").matches) routes.open = false;
const calls = [...document.querySelectorAll("[data-call]")].map((element) => ({
  element,
  entry: document.querySelector(`[data-for="${CSS.escape(element.dataset.call)}"]`),
  text: element.textContent.toLowerCase(),
}));

function search() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { element, entry, text } of calls) {
    const matches = words.every((word) => text.includes(word));
    element.hidden = entry.hidden = !matches;
    shown += matches ? 1 : 0;
  }
  if (words.length) routes.open = true;
  found.textContent = words.length ? `${shown} of ${calls.length}` : "";
}

field.closest(".search").hidden = false;
field.addEventListener("input", search);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !(event.target instanceof HTMLInputElement)) {
    event.preventDefault();
    field.focus();
  }
});
