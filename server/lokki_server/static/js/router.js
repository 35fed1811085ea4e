/** Client-side routes under /ui/. A page is {title, node, key?, route?(match), close?()}. */

import { failure } from "./components/states.js";
import { h } from "./dom.js";

const routes = [];
let shown = null;
let view = null;
let url = null;
let turn = 0;

/**
 * `pattern` like `/ui/runs/:id/*`; `load()` gives, later, a function that makes a page for
 * {path, params, rest, query}.
 */
export function route(pattern, load) {
  const names = [];
  const source = pattern
    .replace(/\/\*$/, "(?<rest>/.*)?")
    .replace(/:(\w+)/g, (_, name) => (names.push(name), "([^/]+)"));
  routes.push({ match: new RegExp(`^${source}/?$`), names, load });
}

export function navigate(to, { replace = false } = {}) {
  if (to === location.pathname + location.search) replace = true;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  show();
}

export function start(container) {
  view = container;
  addEventListener("popstate", () => {
    if (location.pathname + location.search !== url) show(); // else it is a fragment, like #main
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='/ui/']");
    const plain = !event.defaultPrevented && event.button === 0;
    if (!link || !plain || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(link.getAttribute("href"));
  });
  show({ first: true });
}

function find() {
  for (const { match, names, load } of routes) {
    const found = match.exec(location.pathname);
    if (!found) continue;
    const values = found.slice(1).map((part) => part && decodeURIComponent(part));
    const params = Object.fromEntries(names.map((name, index) => [name, values[index]]));
    const rest = found.groups?.rest?.split("/").filter(Boolean).map(decodeURIComponent) ?? [];
    return [
      load,
      { path: location.pathname, params, rest, query: new URLSearchParams(location.search) },
    ];
  }
  return [async () => missing, { path: location.pathname }];
}

async function show({ first = false } = {}) {
  const own = ++turn;
  url = location.pathname + location.search;
  const [load, match] = find();
  const key = `${routes.findIndex((each) => each.load === load)} ${Object.values(match.params ?? {})}`;
  if (shown?.key === key && shown.page.route) {
    shown.page.route(match);
  } else {
    const open = await load().catch(() => unreachable);
    if (own !== turn) return; // another page has been asked for meanwhile
    shown?.page.close?.();
    const page = open(match);
    shown = { key, page };
    view.replaceChildren(page.node);
    scrollTo(0, 0);
    if (!first) focusHeading(view);
  }
  setTitle(shown.page.title);
  for (const link of document.querySelectorAll("#nav a")) {
    const current = location.pathname.startsWith(link.getAttribute("href"));
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

export function setTitle(title) {
  document.title = title ? `${title} · lokki` : "lokki";
}

/** Move the focus to a heading, so that the keyboard and a screen reader continue from there. */
export function focusHeading(within) {
  const heading = within.querySelector("h1, h2");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

function unreachable() {
  const problem = { title: "Not connected", detail: "the server cannot be reached" };
  return { title: problem.title, node: h("div", { class: "page" }, failure(problem, () => show())) };
}

function missing({ path }) {
  return {
    title: "No such page",
    node: h(
      "div",
      { class: "page" },
      h("h1", null, "No such page"),
      h("p", null, "There is nothing at ", h("code", null, path), "."),
      h("p", null, h("a", { href: "/ui/runs" }, "To the runs")),
    ),
  };
}
