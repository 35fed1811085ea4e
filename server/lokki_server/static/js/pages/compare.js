/** Two runs side by side: `?first=RUN&second=RUN`; on AWS with `&on=aws&flow=FLOW`. */

import { compareUrl, get, path, runPath, withQuery, written } from "../api.js";
import { empty, fetched } from "../components/states.js";
import { badge } from "../components/status.js";
import { h } from "../dom.js";
import { done, shownStatus } from "../model.js";
import { navigate } from "../router.js";
import { count, duration, when } from "../time.js";

const LAST = 50;
const LONGEST = 300;
const NAMES = { lokki_version: "lokki", python_version: "Python", code: "code of steps", commit: "git commit" };

export default function comparePage(match) {
  const place = h("div", { class: "stack" });
  let stop = () => {};
  const show = ({ query }) => {
    stop();
    stop = fetched(place, (signal) => load(Object.fromEntries(query), signal), draw);
  };
  show(match);
  return {
    title: "Compare runs",
    node: h(
      "div",
      { class: "page" },
      h("p", { class: "crumbs" }, h("a", { href: "/ui/runs" }, "Runs")),
      h("h1", null, "Compare runs"),
      place,
    ),
    route: show,
    close: () => stop(),
  };
}

async function load({ first: id = "", second, on: where = "local", flow }, signal) {
  const asked = { id, where, flow };
  const first = await get(runPath(asked), signal);
  const [{ runs }, found] = await Promise.all([
    get(listOf(first), signal),
    second ? get(runPath(asked, "compare", second), signal) : null,
  ]);
  return { first, runs, found };
}

/** The latest runs of its flow, where it is. */
const listOf = ({ where, flow }) =>
  where === "aws"
    ? withQuery(path("aws", "flows", flow, "executions"), { n: LAST })
    : withQuery("/runs", { flow, n: LAST });

function draw({ first, runs, found }) {
  const other = found?.second;
  const chosen = (name, run) => {
    const known = runs.some(({ id }) => id === run?.id);
    const select = h(
      "select",
      { id: name },
      !run && h("option", { value: "" }, "choose a run"),
      (known || !run ? runs : [run, ...runs]).map((each) =>
        h("option", { value: each.id }, `${each.id} ${each.status}`),
      ),
    );
    select.value = run?.id ?? "";
    return select;
  };
  const [one, two] = [chosen("first", first), chosen("second", other)];
  const changed = () =>
    navigate(compareUrl({ ...first, id: one.value }, two.value), { replace: true });
  return [
    h(
      "form",
      { class: "filters", onchange: changed, onsubmit: (event) => event.preventDefault() },
      h("div", null, h("label", { for: "first" }, "First run"), one),
      h("div", null, h("label", { for: "second" }, "Second run"), two),
    ),
    found ? table(found) : empty("Choose the run to compare with"),
  ];
}

function table(found) {
  const { first, second, params, same_params: same } = found;
  const differences = (all) =>
    all.map((each) => row(NAMES[each.name] ?? each.name, value(each.first), value(each.second)));
  const run = (each) => h("a", { class: "id", href: `/ui${runPath(each)}` }, each.id);
  return h(
    "div",
    { class: "card" },
    h(
      "table",
      { class: "compare" },
      h("caption", { class: "unseen" }, "What differs between the runs"),
      h(
        "thead",
        null,
        h("tr", null, h("td"), [first, second].map((each) => h("th", { scope: "col" }, run(each)))),
      ),
      section("Run", [
        row("Status", ...[first, second].map((each) => badge(shownStatus(each)).node)),
        row("Started", when(first.started), when(second.started)),
        row("Took", took(first), took(second)),
        ...differences(found.facts),
      ]),
      section("Parameters", differences(params)),
      section(
        "Stages",
        found.stages.map((each) => row(each.name, stage(each.first), stage(each.second))),
      ),
      section(
        "Failures",
        found.failures.map((each) =>
          row(`${each.type}: ${each.message}`, failed(each.first), failed(each.second)),
        ),
      ),
      section(
        "Result",
        found.results && !notCompared(found.results) ? [row("Result", result(found.results.first), result(found.results.second))] : [],
      ),
    ),
    same.length > 0 && h("p", { class: "quiet" }, `The same parameters: ${same.join(", ")}.`),
    found.same_result && h("p", { class: "quiet" }, "The result is the same."),
    notCompared(found.results) &&
      h(
        "p",
        { class: "quiet" },
        `The results are not compared: ${result(found.results.first)}; ${result(found.results.second)}.`,
      ),
  );
}

const section = (title, rows) =>
  rows.length > 0 &&
  h(
    "tbody",
    null,
    h("tr", null, h("th", { scope: "rowgroup", colspan: 3, class: "strong" }, title)),
    rows,
  );

const row = (name, ...values) =>
  h(
    "tr",
    null,
    h("th", { scope: "row" }, name),
    values.map((each) => h("td", null, each)),
  );

/** Whether both results are of one type that JSON cannot hold: they may be the same. */
const notCompared = (results) =>
  Boolean(results?.first?.type) && results.first.type === results.second?.type;

const NONE = "–";
const took = (run) => duration(run.duration) || NONE;
const failed = (number) => (number ? count(number) : NONE);

function value(it) {
  if (it === null || it === undefined) return NONE;
  const text = typeof it === "string" ? it : written(it);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

function stage(it) {
  if (!it) return NONE;
  const items = it.kind === "map" && `${count(done(it))} of ${count(it.total)}`;
  const troubles = ["failed", "tolerated"].map((name) => it[name] > 0 && `${count(it[name])} ${name}`);
  return [duration(it.duration), items, ...troubles].filter(Boolean).join(", ");
}

function result(it) {
  if (!it) return NONE;
  return "json" in it ? value(written(it.json)) : [it.type, it.bytes && `${count(it.bytes)} bytes`].filter(Boolean).join(", ");
}
