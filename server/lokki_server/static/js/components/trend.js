/** Durations and failures of a flow's latest runs as bars, the newest at the right. */

import { get, path, withQuery } from "../api.js";
import { h, svg, throttle } from "../dom.js";
import { ended } from "../model.js";
import { navigate } from "../router.js";
import { count, duration, when } from "../time.js";
import { empty, failure, loading } from "./states.js";

const LAST = 60;
const REFRESH_MS = 5000;
/** Of a chart, in units of its view; a bar is one wide, with a gap. */
const HIGH = 48;
const LEAST = 1.5;
const GAP = 0.25;

export function trend(flow) {
  const node = h("div", { class: "trend" }, loading());
  const abort = new AbortController();
  const load = async () => {
    try {
      const { runs } = await get(withQuery(path("flows", flow, "trend"), { n: LAST }), abort.signal);
      node.replaceChildren(...(runs.length ? draw(runs) : [empty("No run has ended yet")]));
    } catch (problem) {
      if (!abort.signal.aborted) node.replaceChildren(failure(problem, load));
    }
  };
  const refresh = throttle(load, REFRESH_MS);
  refresh();
  return {
    node,
    take: (changed) => changed.some((run) => run.flow === flow && ended(run)) && refresh(),
    close() {
      abort.abort();
      refresh.stop();
    },
  };
}

function draw(runs) {
  const about = h("p", { class: "quiet" });
  const say = (run) => about.replaceChildren(...(run ? wordsOf(run) : [summary(runs)]));
  say(null);
  const longest = Math.max(...runs.map((run) => run.duration));
  const share = ({ items, failed }) => (items ? failed / items : 0);
  const worst = Math.max(...runs.map(share));
  return [
    chart("Duration", duration(longest), runs, (run) => run.duration / (longest || 1), say),
    worst > 0 &&
      chart("Failed items", percent(worst), runs, (run) => share(run) / worst, say, "failed"),
    about,
  ].filter(Boolean);
}

/** Bars of `height(run)` from 0 to 1, with what the highest stands for. */
function chart(title, most, runs, height, say, status = null) {
  const bars = runs.map((run, at) => {
    const high = height(run) && Math.max(LEAST, height(run) * HIGH);
    return svg("rect", {
      "data-status": status ?? run.status,
      x: at + GAP / 2,
      y: HIGH - high,
      width: 1 - GAP,
      height: high,
    });
  });
  const at = (event) => {
    const { left, width } = picture.getBoundingClientRect();
    return runs[Math.floor(((event.clientX - left) / width) * wide) - (wide - runs.length)];
  };
  const wide = Math.max(20, runs.length);
  const picture = svg(
    "svg",
    {
      viewBox: `${runs.length - wide} 0 ${wide} ${HIGH}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${title} of the latest runs, at most ${most}`,
      onpointermove: (event) => say(at(event)),
      onpointerleave: () => say(null),
      onclick: (event) => at(event) && navigate(`/ui${path("runs", at(event).id)}`),
    },
    bars,
  );
  return h("figure", null, h("figcaption", null, title, h("span", { class: "quiet" }, most)), picture);
}

function summary(runs) {
  const sorted = runs.map((run) => run.duration).sort((one, two) => one - two);
  const counts = ["succeeded", "failed", "cancelled"].map((status) => [
    runs.filter((run) => run.status === status).length,
    status,
  ]);
  const words = counts.filter(([number]) => number).map(([number, status]) => `${count(number)} ${status}`);
  return `${words.join(", ")} · ${duration(sorted[Math.floor(sorted.length / 2)])} in the middle`;
}

const wordsOf = (run) => [
  when(run.started),
  ` ${run.status}, ${duration(run.duration)}`,
  run.failed > 0 ? `, ${count(run.failed)} of ${count(run.items)} items failed` : "",
];

const percent = (share) => `${Number((100 * share).toPrecision(2))}%`;
