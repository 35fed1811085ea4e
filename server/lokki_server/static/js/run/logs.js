/** The log of a run: followed while it is running, read from its beginning or its end. */

import { get, runPath, withQuery } from "../api.js";
import { logLine } from "../components/lines.js";
import { failure } from "../components/states.js";
import { h, setAttribute, setText } from "../dom.js";
import { ended } from "../model.js";
import { navigate } from "../router.js";
import { count } from "../time.js";

const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
const PAGE = 500;
const MOST = 1000;
const BURST = 200;
const NEAR_END = 24;
const FILTERS = ["step", "level", "item", "attempt", "search"];

export function logsView({ run: known, match }) {
  let run = known;
  let query = match.query;
  let abort = new AbortController();
  let last = null;
  let first = null;
  let unread = 0;
  let busy = false;
  let held = [];
  let atEnd = false;

  const base = `/ui${runPath(run, "logs")}`;
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
  const before = h(
    "button",
    { type: "button", hidden: true, onclick: () => earlier() },
    "Earlier lines",
  );
  const download = h("a", { class: "button", download: "" }, "Download");
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
    search: h("input", { type: "search", id: "logs-search", maxlength: "200", autocomplete: "off" }),
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
      labelled("Text", controls.search),
      followBox,
      h("button", { type: "button", onclick: () => fromStart() }, "From the start"),
      h("button", { type: "button", onclick: () => newest() }, "Newest"),
      download,
    ),
    place,
    h("div", { class: "more" }, before),
    h("div", { class: "lines-box" }, lines, fresh),
    h("div", { class: "more" }, more, state),
  );

  const filter = () => Object.fromEntries(FILTERS.map((name) => [name, query.get(name)]));
  const asked = (extra) => withQuery(runPath(run, "logs"), { ...filter(), limit: PAGE, ...extra });

  function fits({ step, level, item, attempt, message }) {
    const wanted = (name, value) => !query.get(name) || query.get(name) === String(value);
    const least = LEVELS.indexOf(query.get("level") ?? "DEBUG");
    return (
      wanted("step", step) &&
      wanted("item", item) &&
      wanted("attempt", attempt) &&
      LEVELS.indexOf(level) >= least &&
      message.toLowerCase().includes((query.get("search") ?? "").toLowerCase())
    );
  }

  /** A line that knows its id. */
  const drawn = (line) =>
    Object.assign(logLine(line, query.get("search")), { lineId: line.id });

  /** The DOM holds a bounded number of lines: the first are removed first. */
  function add(found) {
    lines.append(...found.map(drawn));
    while (lines.childElementCount > MOST) {
      lines.firstElementChild.remove();
      first = lines.firstElementChild.lineId ?? first;
    }
    if (follow.checked) lines.scrollTop = lines.scrollHeight;
    showState();
  }

  function showState() {
    const some = lines.childElementCount;
    setText(
      state,
      some
        ? `${count(some)} lines shown${some >= MOST ? ", no more at a time" : ""}`
        : busy
          ? "Loading lines…"
          : query.get("search")
            ? "No lines with this text"
            : "No lines",
    );
    setAttribute(more, "hidden", atEnd || !some ? "" : null);
    setAttribute(before, "hidden", first === null || !some ? "" : null);
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
    showState();
    try {
      await work(signal);
    } catch (problem) {
      if (!signal.aborted) place.replaceChildren(failure(problem, () => asking(work)));
    }
    if (signal.aborted) return;
    busy = false;
    showState();
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
    first = null;
    unread = 0;
    atEnd = false;
    lines.replaceChildren();
    return page();
  }

  /** The last lines. */
  const newest = () =>
    asking(async (signal) => {
      const found = await get(asked({ tail: true }), signal);
      last = found.next;
      unread = 0;
      atEnd = true;
      lines.replaceChildren();
      first = found.lines.length === PAGE ? found.previous : null;
      add(found.lines);
      lines.scrollTop = lines.scrollHeight;
    });

  /** The lines before those that are shown; what is too much then is left out at the end. */
  const earlier = () =>
    asking(async (signal) => {
      const found = await get(asked({ before: first }), signal);
      first = found.lines.length === PAGE ? found.previous : null;
      follow.checked = false;
      const from = lines.scrollHeight - lines.scrollTop;
      lines.prepend(...found.lines.map(drawn));
      lines.scrollTop = lines.scrollHeight - from;
      while (lines.childElementCount > MOST) {
        lines.lastElementChild.remove();
        last = lines.lastElementChild.lineId ?? last;
        atEnd = false;
      }
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
      showState();
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
    setAttribute(download, "href", withQuery(runPath(run, "logs.txt"), filter()));
    lines.replaceChildren();
    follow.checked = !ended(run);
    if (follow.checked) newest();
    else fromStart();
  }
  apply(query);

  return {
    node,
    route: apply,
    update(now) {
      run = now;
      showState();
    },
    lines: take,
    again: () => follow.checked && newest(),
    close: () => abort.abort(),
  };
}

/** The steps of a run, by its structure. */
function steps({ structure, stages }) {
  const named = structure.flatMap((stage) => stage.steps);
  return named.length ? named : stages.map(({ name }) => name);
}
