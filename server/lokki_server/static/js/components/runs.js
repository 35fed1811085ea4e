/** A table of runs, whose rows change as the runs do. */

import { path, runPath } from "../api.js";
import { h, keyed, setAttribute, setText } from "../dom.js";
import { done, keyOf, maps, shownStatus, sum, took } from "../model.js";
import { count, duration, setWhen } from "../time.js";
import { badge, whereBadge } from "./status.js";
import { tags } from "./tags.js";

/** `chosen`: a `selection`, whose boxes the rows have. */
export function runsTable({ flows = true, chosen = null } = {}) {
  const body = h("tbody");
  const heads = [
    ["Run"],
    flows && ["Flow"],
    ["Status"],
    ["Started"],
    ["Items", "number items"],
    ["Took", "number"],
  ];
  const node = h(
    "div",
    { class: "table-box" },
    h(
      "table",
      { class: "runs" },
      h("caption", { class: "unseen" }, "Runs, newest first"),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          heads.filter(Boolean).map(([text, kind]) => h("th", { scope: "col", class: kind }, text)),
        ),
      ),
      body,
    ),
  );
  return {
    node,
    update: (runs) =>
      keyed(
        body,
        runs,
        keyOf,
        (run) => row(run, flows, chosen),
      ),
  };
}

function row(run, flows, chosen) {
  const box = chosen?.box(run);
  const status = badge(shownStatus(run));
  const started = h("time");
  const bar = h("span", { class: "share", "aria-hidden": "true" }, h("span"));
  const items = h("span");
  const trouble = h("span", { class: "trouble" });
  const time = h("td", { class: "number", "data-label": "Took" });
  const node = h(
    "tr",
    null,
    h(
      "th",
      { scope: "row", "data-label": "Run" },
      h("span", null, box?.node, h("a", { class: "id", href: `/ui${runPath(run)}` }, run.id)),
      whereBadge(run),
      tags(run.tags),
    ),
    flows &&
      h(
        "td",
        { "data-label": "Flow" },
        h("a", { href: `/ui${path("flows", run.flow)}` }, run.flow),
      ),
    h("td", { "data-label": "Status" }, status.node),
    h("td", { "data-label": "Started" }, started),
    h("td", { class: "number items", "data-label": "Items" }, items, trouble, bar),
    time,
  );
  return {
    node,
    update(run) {
      box?.update(run);
      status.update(shownStatus(run));
      setWhen(started, run.started ?? run.created);
      const own = maps(run);
      const total = sum(own, "total");
      const so = own.reduce((all, stage) => all + done(stage), 0);
      setText(
        items,
        total ? (so === total ? count(total) : `${count(so)} of ${count(total)}`) : "",
      );
      const troubles = ["failed", "tolerated"].filter((name) => sum(own, name));
      setText(trouble, troubles.map((name) => `${count(sum(own, name))} ${name}`).join(", "));
      setAttribute(bar, "hidden", run.status === "running" && total ? null : "");
      bar.firstChild.style.width = `${total ? (100 * so) / total : 0}%`;
      setText(time, duration(took(run)) || "–");
    },
  };
}
