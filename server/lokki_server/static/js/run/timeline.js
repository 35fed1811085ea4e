/** The stages of a run as bars in time. */

import { mark } from "../components/status.js";
import { h, keyed, setAttribute, setText } from "../dom.js";
import { done, ended, stageStatus, stageText, took } from "../model.js";
import { count, duration } from "../time.js";

const TICKS = [0.25, 0.5, 0.75, 1];
const PARTS = ["succeeded", "tolerated", "failed"];
/** The width, as a share of the others, of a stage whose end is unknown. */
const UNKNOWN = 0.25;

export function timeline() {
  const rows = h("ol", { class: "timeline" });
  const note = h("p", { class: "quiet" });
  const ticks = TICKS.map(() => h("span"));
  const axis = h("div", { class: "timeline-axis", "aria-hidden": "true" }, ticks);
  const node = h("div", { class: "timeline-box" }, rows, axis, note);
  return {
    node,
    update(run) {
      const { stages, whole } = rowsOf(run);
      keyed(rows, stages, ({ position }) => position, row);
      ticks.forEach((tick, index) => setText(tick, duration(TICKS[index] * whole)));
      axis.hidden = !run.stages.length;
      const resumed = run.resumes?.length && run.stages.length;
      setText(note, resumed ? "The run was resumed: times between are left out of the bars." : "");
    },
  };
}

/** Bars by the clock, of `whole` seconds; of a resumed run, whose clock has gaps, by what each stage took. */
function rowsOf(run) {
  const resumed = run.resumes?.length > 0;
  const seconds = run.stages.map((stage) => took(stage, run));
  const from = Date.parse(run.started);
  let before = 0;
  const spans = run.stages.map((stage, index) => {
    const begin = resumed ? before : (Date.parse(stage.started) - from) / 1000;
    before += seconds[index] ?? 0;
    return [Math.max(0, begin || 0), seconds[index]];
  });
  const known = Math.max(0.001, ...spans.map(([begin, wide]) => begin + (wide ?? 0)));
  const unknown = known * UNKNOWN;
  const reached = Math.max(known, ...spans.map(([begin, wide]) => begin + (wide ?? unknown)));
  const clock = (Date.parse(run.finished) - from) / 1000;
  const whole = ended(run) && !resumed ? Math.max(reached, clock || 0) : reached;
  const parts = run.structure.map(stageText);
  const begun = run.stages.map((stage, index) => ({
    position: stage.position,
    name: parts[stage.position] ?? stage.name,
    status: stageStatus(stage, run),
    left: (100 * spans[index][0]) / whole,
    width: (100 * (spans[index][1] ?? unknown)) / whole,
    shares: PARTS.map((name) => (stage.total ? stage[name] / stage.total : 0)),
    items: itemsOf(stage),
    time: duration(seconds[index]),
  }));
  const last = run.stages.at(-1)?.position ?? -1;
  const waiting = parts.slice(last + 1).map((name, index) => ({
    position: last + 1 + index,
    name,
    status: "pending",
    left: 0,
    width: 0,
    shares: [0, 0, 0],
    items: "",
    time: "",
  }));
  return { stages: [...begun, ...waiting], whole };
}

/** How many items of a map are done, and whether the result of a step was reused. */
function itemsOf(stage) {
  const reused = stage.reused > 0;
  if (stage.kind !== "map") return reused ? "reused" : "";
  const items = `${count(done(stage))} of ${count(stage.total)}`;
  return reused ? `${items}, ${count(stage.reused)} reused` : items;
}

function row() {
  const sign = h("span", { class: "timeline-mark" });
  const name = h("span", { class: "timeline-name" });
  const fills = PARTS.map((name) => h("span", { "data-status": name }));
  const bar = h("span", { class: "timeline-bar" }, fills);
  const text = h("span", { class: "timeline-text" });
  const node = h(
    "li",
    null,
    sign,
    name,
    h("span", { class: "timeline-track", "aria-hidden": "true" }, bar),
    text,
  );
  return {
    node,
    update({ name: called, status, left, width, shares, items, time }) {
      if (node.dataset.status !== status)
        sign.replaceChildren(
          mark(
            status === "pending" ? "pending" : status,
            status === "pending" ? "not yet" : status,
          ),
        );
      setAttribute(node, "data-status", status);
      setText(name, called);
      bar.style.left = `${Math.min(left, 99.5)}%`;
      bar.style.width = `${Math.max(width, 0.5)}%`;
      fills.forEach((fill, index) => {
        fill.style.width = `${100 * shares[index]}%`;
        setAttribute(fill, "hidden", shares[index] ? null : "");
      });
      setAttribute(bar, "hidden", status === "pending" ? "" : null);
      setText(text, [items, time].filter(Boolean).join(" · ") || "not yet");
    },
  };
}
