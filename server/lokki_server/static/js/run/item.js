/** One item: its attempts with their tracebacks, its output, and its log lines. */

import { get, runPath, withQuery } from "../api.js";
import { logLine } from "../components/lines.js";
import { fetched } from "../components/states.js";
import { badge } from "../components/status.js";
import { bytes, code, json } from "../components/value.js";
import { h } from "../dom.js";
import { frames } from "../editor.js";
import { stepsAt } from "../model.js";
import { duration, when } from "../time.js";
import { shown, table } from "./shown.js";

const LINES = 200;

export function itemView({ run, match }) {
  const [, position, , index] = match.rest;
  const place = h("div");
  const items = runPath(run, "stages", position, "items");
  const stage = run.stages.find((each) => String(each.position) === position);
  const steps = stepsAt(run, position);
  const number = stage?.kind === "map" ? Number(index) : null;
  const values = shown(run, {
    asked: { item: number, limit: 1000 },
    belongs: ({ step, item }) => item === number && steps.includes(step),
  });
  const stop = fetched(
    place,
    (signal) => get(`${items}/${encodeURIComponent(index)}`, signal),
    (item) => draw(run, item, steps),
  );
  const neighbour = (to, rel, text) =>
    to >= 0 && to < (stage?.total ?? Infinity)
      ? h("a", { class: "button", rel, href: `/ui${items}/${to}` }, text)
      : null;
  const node = h(
    "div",
    null,
    h(
      "div",
      { class: "item-head" },
      h("h2", null, `${stage?.name ?? "stage"} #${index}`),
      h(
        "nav",
        { class: "pager", "aria-label": "Items beside it" },
        neighbour(Number(index) - 1, "prev", "Item before"),
        neighbour(Number(index) + 1, "next", "Item after"),
        h("a", { class: "button", href: `/ui${items}` }, "All items"),
      ),
    ),
    place,
    values.node,
  );
  return {
    node,
    update: values.update,
    close() {
      stop();
      values.close();
    },
  };
}

function draw(run, item, steps) {
  const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));
  const lines = h("div");
  const asked = { item: item.index, limit: LINES };
  fetched(
    lines,
    (signal) => get(withQuery(runPath(run, "logs"), asked), signal),
    ({ lines: all }) => {
      const found = all.filter(({ step }) => steps.includes(step)); // other maps have such an item, too
      return found.length
        ? h(
            "div",
            {
              class: "lines",
              tabindex: "0",
              role: "region",
              "aria-label": "Log lines of this item",
            },
            found.map((line) => logLine(line)),
          )
        : h("p", { class: "quiet" }, "none");
    },
  );
  const card = (id, title, ...content) =>
    h(
      "section",
      { class: "card", "aria-labelledby": id },
      h("h3", { id, class: "title" }, title),
      ...content,
    );
  return [
    h(
      "dl",
      { class: "run-facts card" },
      fact("Status", badge(item.status).node),
      fact("Attempts", item.reused ? "none: its result was reused" : String(item.attempts)),
      fact("Started", when(item.started)),
      fact("Finished", when(item.finished)),
      fact("Took", duration(item.duration) || "–"),
    ),
    item.failures.length > 0 && card("attempts", "Failed attempts", attempts(run, item.failures)),
    item.input && card("input", "Input", value(item.input)),
    card("output", "Output", output(item)),
    card(
      "item-lines",
      "Log lines",
      lines,
      h(
        "p",
        null,
        h(
          "a",
          { href: withQuery(`/ui${runPath(run, "logs")}`, { item: item.index }) },
          "In the log",
        ),
      ),
    ),
  ].filter(Boolean);
}

function attempts(run, failures) {
  return h(
    "ol",
    { class: "attempts" },
    failures.map(({ attempt, step, at, type, message, traceback }, index) =>
      h(
        "li",
        null,
        h(
          "details",
          { open: index === failures.length - 1 },
          h(
            "summary",
            null,
            `Attempt ${attempt}`,
            isAgain(failures, index) && " after a resume",
            h("span", { class: "quiet" }, ` in ${step}, `, when(at)),
            h(
              "span",
              { class: "attempt-error" },
              h("strong", null, type),
              message ? ` ${message}` : "",
            ),
          ),
          traceback && code(frames(run, traceback), `Traceback of attempt ${attempt}`),
        ),
      ),
    ),
  );
}

/** Whether attempts of the same step are counted from 1 again: since a resume. */
const isAgain = (failures, index) =>
  failures.slice(0, index).some((each) => each.step === failures[index].step && each.attempt >= failures[index].attempt);

function output({ output: found, status }) {
  return found
    ? value(found)
    : h("p", { class: "quiet" }, status === "succeeded" ? "not kept" : "none");
}

function value(found) {
  const cut = found.truncated
    ? h("p", { class: "note" }, "It is long: this is its beginning.")
    : null;
  if ("json" in found) return [json(found.json), cut];
  const what = h(
    "p",
    null,
    h("code", null, found.type),
    found.bytes === undefined ? "" : `, ${bytes(found.bytes)}`,
  );
  return found.preview ? [what, ...table(found.preview, found.type)] : what;
}
