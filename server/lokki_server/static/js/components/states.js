/** What is shown in place of data: it is loading, it failed to load, there is none. */

import { h } from "../dom.js";

export function loading(what = "Loading…") {
  return h(
    "div",
    { class: "loading", role: "status" },
    h("span", { class: "unseen" }, what),
    ...[1, 2, 3].map(() => h("div", { class: "bone", "aria-hidden": "true" })),
  );
}

export function failure(problem, again) {
  return h(
    "div",
    { class: "message", "data-kind": "error", role: "alert" },
    h("p", { class: "strong" }, problem.title ?? "Something went wrong"),
    h("p", null, problem.detail ?? problem.message),
    again && h("button", { type: "button", onclick: again }, "Try again"),
  );
}

export function empty(title, ...more) {
  return h("div", { class: "message" }, h("p", { class: "strong" }, title), ...more);
}

/**
 * Load data with `load(signal)` and show it in `place` as `draw(data)`; show loading and errors, too.
 * Returns a function that stops it.
 */
export function fetched(place, load, draw) {
  const stop = new AbortController();
  const run = async () => {
    place.replaceChildren(loading());
    place.setAttribute("aria-busy", "true");
    try {
      const data = await load(stop.signal);
      if (!stop.signal.aborted) place.replaceChildren(...[draw(data)].flat());
    } catch (problem) {
      if (!stop.signal.aborted) place.replaceChildren(failure(problem, run));
    } finally {
      place.removeAttribute("aria-busy");
    }
  };
  run();
  return () => stop.abort();
}
