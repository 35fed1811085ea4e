import { get, withQuery } from "../api.js";
import { watchAws } from "../components/aws.js";
import { runsTable } from "../components/runs.js";
import { searchForm } from "../components/search.js";
import { selection } from "../components/selection.js";
import { empty, failure, loading } from "../components/states.js";
import { h, setAttribute, setText, throttle } from "../dom.js";
import { follow } from "../events.js";
import { newestFirst, RUN_STATUSES } from "../model.js";
import { navigate } from "../router.js";
import { now } from "../time.js";

const PAGE = 30;
const AGES = [
  ["", "any time"],
  ["1", "the last hour"],
  ["24", "the last day"],
  ["168", "the last week"],
  ["720", "the last 30 days"],
];

export default function runsPage(match) {
  let runs = new Map();
  let cloud = [];
  let loaded = false;
  let next = null;
  let asked = null;
  let filter = null;
  let abort = new AbortController();

  const chosen = selection((fresh) => {
    if (fresh.where === "local") runs.set(fresh.id, fresh);
    draw();
  });
  const table = runsTable({ chosen });
  const place = h("div");
  const note = h("p", { class: "note", role: "status" });
  const more = h("button", { type: "button", onclick: () => load({ older: true }) }, "Older runs");
  const foot = h("div", { class: "more", hidden: true }, more);
  /** Keep what is asked for in the URL. */
  const ask = (changed, how) =>
    navigate(withQuery("/ui/runs", { ...asked, ...changed }), how);
  const filters = filterForm((changed) => ask(changed, { replace: true }));
  const search = searchForm(ask);
  const node = h(
    "div",
    { class: "page" },
    h("div", { class: "head" }, h("h1", null, "Runs"), search.node),
    filters.node,
    note,
    chosen.node,
    place,
    foot,
  );

  const fits = (run) =>
    (!filter.flow || run.flow === filter.flow) &&
    (!filter.status.length || filter.status.includes(run.status)) &&
    (!filter.since || Date.parse(run.created) >= Date.parse(filter.since));
  const searches = () => filter.tag.length || filter.param.length || filter.search;
  const draw = throttle(() => {
    const local = newestFirst(runs.values());
    const oldest = next ? local.at(-1)?.created : "";
    const shown = newestFirst([
      ...local,
      ...cloud.filter((run) => fits(run) && run.created >= oldest),
    ]);
    table.update(shown);
    chosen.update(shown);
    if (!shown.length) place.replaceChildren(none(filter));
    else if (!table.node.isConnected) place.replaceChildren(table.node);
    setAttribute(foot, "hidden", next ? null : "");
  }, 250);
  const query = (extra) => withQuery("/runs", { ...filter, n: PAGE, ...extra });

  async function load({ older = false } = {}) {
    if (older) more.disabled = true;
    const { signal } = abort;
    try {
      const found = await get(query(older ? { before: next } : {}), signal);
      if (!older) runs = new Map();
      for (const run of found.runs) runs.set(run.id, run);
      next = found.next;
      loaded = true;
      draw();
    } catch (problem) {
      if (signal.aborted) return;
      if (older)
        foot.append(
          failure(problem, (event) => (event.target.closest(".message").remove(), load({ older }))),
        );
      else place.replaceChildren(failure(problem, load));
    } finally {
      more.disabled = false;
    }
  }

  /** After a new connection, load the newest runs; those that were loaded below stay. */
  async function refresh() {
    try {
      const found = await get(query(), abort.signal);
      for (const run of found.runs) runs.set(run.id, run);
      draw();
    } catch {
      // The list that is there stays; the banner shows a lost connection.
    }
  }

  function apply({ query }) {
    const { hours, ...others } = (asked = {
      flow: query.get("flow") ?? "",
      status: query.getAll("status"),
      hours: query.get("hours") ?? "",
      tag: query.getAll("tag"),
      param: query.getAll("param"),
      search: query.get("search") ?? "",
    });
    const since = Number(hours) ? new Date(now() - hours * 3_600_000).toISOString() : "";
    filter = { ...others, since };
    filters.update(query);
    search.update(query);
    abort.abort();
    abort = new AbortController();
    loaded = false;
    place.replaceChildren(loading("Loading runs…"));
    foot.hidden = true;
    load();
    aws?.again();
  }

  let aws = null;
  apply(match);
  aws = watchAws(
    () => filter,
    PAGE,
    ({ runs: found, problem }) => {
      cloud = found;
      setText(note, problem ? `Runs on AWS are not shown: ${problem}` : "");
      if (loaded) draw();
    },
  );
  let opened = 0;
  const look = throttle(refresh, 2000);
  const stop = follow("/events", {
    open: () => opened++ && refresh(),
    runs({ runs: changed }) {
      for (const run of changed) {
        const known = runs.has(run.id);
        if (!known && searches()) {
          look(); // the server knows whether it is one
          continue;
        }
        const last = [...runs.keys()].sort()[0];
        if (!fits(run)) runs.delete(run.id);
        else if (known || !next || run.id > last) runs.set(run.id, run);
      }
      draw();
    },
  });
  const ticking = setInterval(() => runs.size && draw(), 1000);
  return {
    title: "Runs",
    node,
    route: apply,
    close() {
      stop();
      aws.close();
      draw.stop();
      look.stop();
      abort.abort();
      clearInterval(ticking);
    },
  };
}

function none({ flow, status, since, tag, param, search }) {
  if (flow || status.length || since || tag.length || param.length || search) {
    return empty(
      "No runs match",
      h("p", null, h("a", { href: "/ui/runs" }, "Show all runs")),
    );
  }
  return empty(
    "No runs yet",
    h(
      "p",
      null,
      "Start one from a ",
      h("a", { href: "/ui/flows" }, "flow"),
      "; it appears here at once.",
    ),
  );
}

function filterForm(change) {
  const flow = h("select", { id: "filter-flow" }, h("option", { value: "" }, "any flow"));
  const age = h(
    "select",
    { id: "filter-age" },
    AGES.map(([value, text]) => h("option", { value }, text)),
  );
  const boxes = RUN_STATUSES.map((status) => h("input", { type: "checkbox", value: status }));
  get("/flows")
    .then(({ flows }) => {
      const known = [...flow.options].map((option) => option.value);
      const names = flows.map(({ name }) => name).filter((name) => !known.includes(name));
      flow.append(...names.map((name) => h("option", { value: name }, name)));
    })
    .catch(() => {});
  const changed = () =>
    change({
      flow: flow.value,
      status: boxes.filter((box) => box.checked).map((box) => box.value),
      hours: age.value,
    });
  const node = h(
    "form",
    {
      class: "filters",
      "aria-label": "Filter runs",
      onchange: changed,
      onsubmit: (event) => event.preventDefault(),
    },
    h("label", { class: "unseen", for: "filter-flow" }, "Flow"),
    flow,
    h("label", { class: "unseen", for: "filter-age" }, "Started in"),
    age,
    h(
      "fieldset",
      { class: "chips" },
      h("legend", { class: "unseen" }, "Status"),
      boxes.map((box) => h("label", { class: "chip" }, box, box.value)),
    ),
  );
  return {
    node,
    update(query) {
      const wanted = query.get("flow") ?? "";
      if (![...flow.options].some((option) => option.value === wanted))
        flow.append(h("option", { value: wanted }, wanted));
      flow.value = wanted;
      age.value = query.get("hours") ?? "";
      for (const box of boxes) box.checked = query.getAll("status").includes(box.value);
    },
  };
}
