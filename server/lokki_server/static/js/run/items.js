/** The items of a stage, a page at a time, by status or by failure group. */

import { get, runPath, withQuery, written } from "../api.js";
import { badge } from "../components/status.js";
import { empty, failure, loading } from "../components/states.js";
import { h, setText, throttle } from "../dom.js";
import { ITEM_STATUSES } from "../model.js";
import { navigate } from "../router.js";
import { duration, when } from "../time.js";

const PAGE = 100;
const REFRESH_MS = 3000;

export function itemsView({ run: first, match }) {
  let run = first;
  let query = match.query;
  let abort = new AbortController();
  let counts = null;
  const inputs = new Map();
  const position = Number(match.rest[1]);
  const base = `/ui${runPath(run, "stages", position, "items")}`;
  const ownStage = () => run.stages.find((stage) => stage.position === position);
  const isMap = () => ownStage()?.kind === "map";

  const to = (changes) =>
    navigate(withQuery(base, { status: status.value, error: group.value, ...changes }));
  const stage = h("select", {
    id: "items-stage",
    onchange: () => navigate(`/ui${runPath(run, "stages", stage.value, "items")}`),
  });
  const status = h(
    "select",
    { id: "items-status", onchange: () => to({}) },
    h("option", { value: "" }, "any status"),
    ITEM_STATUSES.map((each) => h("option", { value: each }, each)),
  );
  const group = h("select", { id: "items-group", onchange: () => to({}) });
  const number = h("input", {
    id: "items-number",
    inputmode: "numeric",
    pattern: "[0-9]*",
    size: "8",
    autocomplete: "off",
  });
  const goTo = (event) => {
    event.preventDefault();
    const index = number.value.trim();
    if (/^\d+$/.test(index)) navigate(`${base}/${Number(index)}`);
  };
  const place = h("div");
  const pager = h("nav", { class: "pager", "aria-label": "Pages of items" });
  const labelled = (text, control) =>
    h("div", null, h("label", { for: control.id }, text), control);
  const node = h(
    "section",
    { class: "card", "aria-labelledby": "items" },
    h("h2", { id: "items" }, "Items"),
    h(
      "div",
      { class: "filters" },
      labelled("Stage", stage),
      labelled("Status", status),
      labelled("Failure", group),
      h(
        "form",
        { onsubmit: goTo },
        labelled("Item number", number),
        h("button", { type: "submit" }, "Go"),
      ),
    ),
    place,
    pager,
  );

  function fillFilters() {
    const stages = run.stages.map((each) => [each.position, each.name]);
    options(stage, stages, position);
    const groups = (ownStage()?.failures ?? []).map(({ id, type, message }) => [
      id,
      `${type} ${message}`.slice(0, 60),
    ]);
    const wanted = query.get("error") ?? "";
    if (wanted && !groups.some(([id]) => id === wanted)) groups.unshift([wanted, wanted]);
    options(group, [["", "any"], ...groups], wanted);
  }

  async function load({ quietly = false } = {}) {
    if (!quietly) {
      abort.abort();
      abort = new AbortController();
      place.replaceChildren(loading("Loading items…"));
      pager.replaceChildren();
    }
    const { signal } = abort;
    counts = countsOf(ownStage());
    const asked = Object.fromEntries(
      ["status", "error", "after"].map((name) => [name, query.get(name)]),
    );
    try {
      const found = await get(
        withQuery(runPath(run, "stages", position, "items"), { ...asked, limit: PAGE }),
        signal,
      );
      if (quietly && place.contains(document.activeElement)) return;
      place.replaceChildren(
        found.items.length ? table(base, found.items, isMap() ? inputs : null) : empty("No items match"),
      );
      showInputs(found.items, signal);
      const here = (after) => withQuery(base, { ...asked, after });
      pager.replaceChildren(
        ...[
          asked.after && h("a", { class: "button", rel: "prev", href: here(null) }, "First items"),
          found.next !== null &&
            h("a", { class: "button", rel: "next", href: here(found.next) }, `Next ${PAGE}`),
        ].filter(Boolean),
      );
    } catch (problem) {
      if (!signal.aborted && !quietly) place.replaceChildren(failure(problem, load));
    }
  }

  /** What the items got; it does not change, so each is asked for once. */
  async function showInputs(items, signal) {
    const item = items.map(({ index }) => index).filter((index) => !inputs.has(index));
    if (!isMap() || !item.length) return;
    const url = withQuery(runPath(run, "stages", position, "inputs"), { item });
    const found = await get(url, signal).catch(() => ({ inputs: [] })); // the table goes without them
    for (const { index, text } of found.inputs) inputs.set(index, text);
    for (const cell of place.querySelectorAll("[data-item]"))
      setText(cell, inputs.get(Number(cell.dataset.item)) ?? "");
  }

  const refresh = throttle(() => load({ quietly: true }), REFRESH_MS);
  const apply = (fresh) => {
    query = fresh;
    status.value = query.get("status") ?? "";
    fillFilters();
    load();
  };
  apply(query);
  return {
    node,
    route: apply,
    update(fresh) {
      run = fresh;
      fillFilters();
      if (countsOf(ownStage()) !== counts) refresh();
    },
    close() {
      refresh.stop();
      abort.abort();
    },
  };
}

const countsOf = (stage) =>
  written([
    stage?.total,
    stage?.succeeded,
    stage?.failed,
    stage?.tolerated,
    stage?.retrying,
  ]);

function options(select, wanted, chosen) {
  const same =
    wanted.length === select.options.length &&
    wanted.every(([value], index) => select.options[index].value === String(value));
  if (!same) select.replaceChildren(...wanted.map(([value, text]) => h("option", { value }, text)));
  if (!same || document.activeElement !== select) select.value = String(chosen);
}

function table(base, items, inputs) {
  const head = ["Item", ...(inputs ? ["Input"] : []), "Status", "Attempts", "Started", "Took", "Failure"];
  return h(
    "div",
    { class: "table-box" },
    h(
      "table",
      null,
      h("caption", { class: "unseen" }, "Items in order"),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          head.map((text) =>
            h(
              "th",
              { scope: "col", class: ["Attempts", "Took"].includes(text) ? "number" : null },
              text,
            ),
          ),
        ),
      ),
      h(
        "tbody",
        null,
        items.map((item) => row(base, item, inputs && (inputs.get(item.index) ?? ""))),
      ),
    ),
  );
}

function row(base, { index, status, attempts, reused, started, duration: seconds, error }, input) {
  const cell = (label, kind, ...children) =>
    h("td", { class: kind, "data-label": label }, ...children);
  return h(
    "tr",
    null,
    h(
      "th",
      { scope: "row", "data-label": "Item" },
      h("a", { class: "id", href: `${base}/${index}` }, `#${index}`),
    ),
    input !== null && h("td", { class: "item-input", "data-item": index, "data-label": "Input" }, input),
    cell("Status", null, badge(status).node),
    cell("Attempts", "number", reused ? "reused" : String(attempts)),
    cell("Started", null, when(started)),
    cell("Took", "number", duration(seconds) || "–"),
    cell(
      "Failure",
      error ? "item-error" : "nothing",
      error ? [h("strong", null, error.type), ` ${error.message}`] : "–",
    ),
  );
}
