/** A map: its counts, its rate, and its items as a strip. */

import { get, runPath, withQuery } from "../api.js";
import { icon } from "../icons.js";
import { strip } from "../components/strip.js";
import { h, keyed, setText } from "../dom.js";
import { done, lost, took } from "../model.js";
import { navigate } from "../router.js";
import { count, duration, mean, rate } from "../time.js";

const MOST_CELLS = 200;
const CELL_PIXELS = 5;
const REFRESH_MS = 2000;
const RETRY_MS = 10_000;
const WINDOW_MS = 15_000;

export function mapCard(run, { position, name }) {
  const base = `/ui${runPath(run, "stages", position, "items")}`;
  const abort = new AbortController();
  const picture = strip(name, (index) => navigate(withQuery(base, { after: index - 1 })));
  const counts = h("ul", { class: "counts" });
  const speed = h("p", { class: "speed" });
  const steps = h("ul", { class: "inner-steps" });
  const missing = h("p", { class: "quiet", role: "status" });
  const heading = `map-${position}`;
  const node = h(
    "section",
    { class: "card", "aria-labelledby": heading },
    h("div", { class: "card-head" }, h("h2", { id: heading }, name), speed),
    counts,
    picture.node,
    steps,
    missing,
  );
  let samples = [];
  let wanted = null;
  let drawn = null;
  let timer = null;
  let earliest = 0;

  /** Draw the items if they have changed since, now or when it is time. */
  function refresh() {
    if (timer !== null || wanted === drawn) return;
    timer = setTimeout(draw, Math.max(0, earliest - Date.now()));
  }

  async function draw() {
    const now = wanted;
    earliest = Date.now() + REFRESH_MS;
    const width = Math.min(MOST_CELLS, Math.floor(innerWidth / CELL_PIXELS));
    const url = withQuery(runPath(run, "stages", position, "strip"), { width });
    try {
      picture.update(await get(url, abort.signal));
      drawn = now;
      setText(missing, "");
    } catch (problem) {
      if (abort.signal.aborted) return;
      earliest = Date.now() + RETRY_MS;
      if (!drawn) setText(missing, `The items cannot be drawn: ${problem.message}`);
    }
    timer = null;
    refresh();
  }

  return {
    node,
    update({ run, stage }) {
      const so = done(stage);
      const goes = !stage.finished && run.status === "running" && !lost(run);
      const at = Date.now();
      samples = goes ? [...samples.filter((each) => at - each.at < WINDOW_MS), { at, so }] : [];
      const perSecond = goes ? (current(samples) ?? overall(stage, run)) : overall(stage, run);
      const left = stage.total - so;
      const words = goes
        ? [stage.total > 0 && `${Math.floor((100 * so) / stage.total)}%`, rate(perSecond)]
        : [perSecond > 0 && `${rate(perSecond)} on average`];
      if (goes && perSecond > 0 && left > 0 && !run.cancel_requested)
        words.push(`about ${duration(Math.ceil(left / perSecond))} left`);
      if (stage.reused) words.push(`${count(stage.reused)} reused`);
      setText(speed, words.filter(Boolean).join(" · "));
      keyed(
        counts,
        countsOf(stage, left),
        ({ key }) => key,
        (each) => counted(base, each),
      );
      keyed(steps, stage.inner ?? [], ({ step }) => step, innerStep);
      const { total, succeeded, failed, tolerated, retrying } = stage;
      wanted = [total, succeeded, failed, tolerated, retrying, run.status].join();
      refresh();
    },
    close() {
      abort.abort();
      clearTimeout(timer);
      picture.close();
    },
  };
}

/** The current rate in items a second; null before there are enough samples. */
function current(samples) {
  const [one, two] = [samples[0], samples.at(-1)];
  return two.at - one.at > 2000 ? (1000 * (two.so - one.so)) / (two.at - one.at) : null;
}

function overall(stage, run) {
  const seconds = took(stage, run);
  return seconds ? done(stage) / seconds : 0;
}

/** An inner step: how many items have passed it, and how long a call takes. */
function innerStep({ step }) {
  const text = h("span");
  return {
    node: h("li", null, h("code", null, step), text),
    update({ succeeded, failed_attempts: failed, mean_seconds: seconds, reused }) {
      const words = [
        `${count(succeeded)} done`,
        failed > 0 && `${count(failed)} failed ${failed === 1 ? "attempt" : "attempts"}`,
        reused > 0 && `${count(reused)} reused`,
        seconds !== null && `${mean(seconds)} on average`,
      ];
      setText(text, words.filter(Boolean).join(" · "));
    },
  };
}

function countsOf(stage, left) {
  const all = [
    { key: "succeeded", number: stage.succeeded },
    { key: "failed", number: stage.failed },
    { key: "tolerated", number: stage.tolerated },
    { key: "retrying", number: stage.retrying },
    { key: "left", number: left, status: "pending" },
  ];
  return all.filter(({ key, number }) => number || key === "succeeded");
}

function counted(base, { key, status = key }) {
  const number = h("strong");
  const link = h(
    "a",
    { href: key === "left" ? base : withQuery(base, { status }) },
    icon(status),
    number,
    ` ${key}`,
  );
  const node = h("li", { "data-status": status }, link);
  return { node, update: ({ number: fresh }) => setText(number, count(fresh)) };
}
