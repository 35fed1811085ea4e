/** The log of a run: followed while the run goes on, read from its begin or its end. */

import { get, path, withQuery } from "../api.js";
import { logLine } from "../components/lines.js";
import { failure } from "../components/states.js";
import { h, setAttribute, setText } from "../dom.js";
import { chainParts, ended } from "../model.js";
import { navigate } from "../router.js";
import { count, now } from "../time.js";

const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
const PAGE = 500;
const MOST = 1000;
const BURST = 200;
const FEW = 100;
const NEAR_END = 24;
const FILTERS = ["step", "level", "item", "attempt"];

export function logsView({ run: first, match }) {
  let run = first;
  let query = match.query;
  let abort = new AbortController();
  let last = null;
  let unread = 0;
  let busy = false;
  let held = [];
  let atEnd = false;

  const base = `/ui${path("runs", run.id, "logs")}`;
  const lines = h("div", {
    class: "lines tall",
    tabindex: "0",
    role: "log",
    "aria-live": "off",
    "aria-label": "Log lines",
  });
  const state = h("p", { class: "quiet", role: "status" });
  const follow = h("input", {
    type: "checkbox",
    id: "logs-follow",
    onchange: () => follow.checked && newest(),
  });
  const followBox = h("label", { class: "chip" }, follow, "follow");
  const fresh = h("button", {
    type: "button",
    class: "fresh",
    hidden: true,
    onclick: () => ((follow.checked = true), newest()),
  });
  const more = h("button", { type: "button", hidden: true, onclick: () => page() }, "More lines");
  const place = h("div");

  const controls = {
    step: h(
      "select",
      { id: "logs-step" },
      h("option", { value: "" }, "any step"),
      steps(run).map((name) => h("option", { value: name }, name)),
    ),
    level: h(
      "select",
      { id: "logs-level" },
      h("option", { value: "" }, "any level"),
      LEVELS.map((level) =>
        h("option", { value: level }, level === "DEBUG" ? level : `${level} and graver`),
      ),
    ),
    item: h("input", { id: "logs-item", inputmode: "numeric", size: "7", autocomplete: "off" }),
  };
  const change = () =>
    navigate(
      withQuery(
        base,
        Object.fromEntries(
          Object.entries(controls).map(([name, { value }]) => [name, value.trim()]),
        ),
      ),
      { replace: true },
    );
  const labelled = (text, control) =>
    h("div", null, h("label", { for: control.id }, text), control);
  const node = h(
    "section",
    { class: "card", "aria-labelledby": "logs" },
    h("h2", { id: "logs" }, "Logs"),
    h(
      "form",
      {
        class: "filters",
        onchange: (event) => event.target !== follow && change(),
        onsubmit: (event) => (event.preventDefault(), change()),
      },
      labelled("Step", controls.step),
      labelled("Level", controls.level),
      labelled("Item", controls.item),
      followBox,
      h("button", { type: "button", onclick: () => fromStart() }, "From the start"),
      h("button", { type: "button", onclick: () => newest() }, "Newest"),
    ),
    place,
    h("div", { class: "lines-box" }, lines, fresh),
    h("div", { class: "more" }, more, state),
  );

  const asked = (extra) =>
    withQuery(path("runs", run.id, "logs"), {
      ...Object.fromEntries(FILTERS.map((name) => [name, query.get(name)])),
      limit: PAGE,
      ...extra,
    });

  function fits({ step, level, item, attempt }) {
    const wanted = (name, value) => !query.get(name) || query.get(name) === String(value);
    const least = LEVELS.indexOf(query.get("level") ?? "DEBUG");
    return (
      wanted("step", step) &&
      wanted("item", item) &&
      wanted("attempt", attempt) &&
      LEVELS.indexOf(level) >= least
    );
  }

  /** The DOM has a bounded number of lines: those that were first go first. */
  function add(found) {
    lines.append(...found.map(logLine));
    while (lines.childElementCount > MOST) lines.firstElementChild.remove();
    if (follow.checked) lines.scrollTop = lines.scrollHeight;
    tell();
  }

  function tell() {
    const some = lines.childElementCount;
    setText(
      state,
      some
        ? `${count(some)} lines shown${some >= MOST ? ", no more at a time" : ""}`
        : busy
          ? "Loading lines…"
          : "No lines",
    );
    setAttribute(more, "hidden", atEnd || !some ? "" : null);
    setText(fresh, `${count(unread)} new ${unread === 1 ? "line" : "lines"}`);
    setAttribute(fresh, "hidden", unread ? null : "");
    setAttribute(followBox, "hidden", ended(run) ? "" : null);
  }

  async function asking(work) {
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    busy = true;
    place.replaceChildren();
    tell();
    try {
      await work(signal);
    } catch (problem) {
      if (!signal.aborted) place.replaceChildren(failure(problem, () => asking(work)));
    }
    if (signal.aborted) return;
    busy = false;
    tell();
    const came = held.filter(({ id }) => id > (last ?? -1));
    held = [];
    if (came.length) take(came);
  }

  const page = () =>
    asking(async (signal) => {
      const found = await get(asked({ after: last }), signal);
      last = found.next ?? last;
      atEnd = found.lines.length < PAGE;
      add(found.lines);
    });

  function fromStart() {
    follow.checked = false;
    last = null;
    unread = 0;
    atEnd = false;
    lines.replaceChildren();
    return page();
  }

  /** The last lines: those since a time, which is set back until there are some. */
  const newest = () =>
    asking(async (signal) => {
      const end = run.finished ? Date.parse(run.finished) : now();
      const begin = Date.parse(run.created);
      let found = { lines: [], next: null };
      for (let back = 2000; found.lines.length < FEW; back *= 4) {
        const whole = end - back <= begin;
        const since = whole ? null : new Date(end - back).toISOString();
        const more = await get(asked({ since }), signal);
        // Few lines that are the newest are better than pages of older ones.
        if (more.lines.length === PAGE && found.lines.length) break;
        found = more;
        if (whole) break;
      }
      let shown = found.lines;
      while (found.lines.length === PAGE) {
        found = await get(asked({ after: found.next }), signal);
        shown = [...shown, ...found.lines].slice(-MOST);
      }
      last = found.next ?? last;
      unread = 0;
      atEnd = true;
      lines.replaceChildren();
      add(shown);
      lines.scrollTop = lines.scrollHeight;
    });

  /** New lines, as they come; those of a burst are the newest of more. */
  function take(found) {
    const wanted = found.filter(fits);
    if (busy) {
      held.push(...found);
      return;
    }
    if (!wanted.length) return;
    if (!follow.checked) {
      unread += wanted.length;
      tell();
      return;
    }
    if (found.length >= BURST)
      lines.append(h("div", { class: "line gap" }, "… more lines came than are shown here"));
    last = found.at(-1).id;
    add(wanted);
  }

  lines.addEventListener("scroll", () => {
    const near = lines.scrollHeight - lines.scrollTop - lines.clientHeight < NEAR_END;
    if (!near && follow.checked) follow.checked = false;
    if (near && atEnd && !ended(run) && !follow.checked) {
      follow.checked = true;
      if (unread) newest();
    }
  });

  function apply(wanted) {
    query = wanted;
    for (const [name, control] of Object.entries(controls)) {
      const value = query.get(name) ?? "";
      if (
        name === "step" &&
        value &&
        ![...control.options].some((option) => option.value === value)
      )
        control.append(h("option", { value }, value));
      control.value = value;
    }
    lines.replaceChildren();
    follow.checked = !ended(run);
    if (follow.checked) newest();
    else fromStart();
  }
  apply(query);

  return {
    node,
    route: apply,
    update(known) {
      run = known;
      tell();
    },
    lines: take,
    again: () => follow.checked && newest(),
    close: () => abort.abort(),
  };
}

/** The steps of a run, by its chain. */
function steps({ chain, stages }) {
  const named = chainParts(chain).flatMap((part) =>
    part.replace(/^map\((.*)\)$/, "$1").split(" → "),
  );
  return named.length ? named : stages.map(({ name }) => name);
}
