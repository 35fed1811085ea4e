/** The head of a run: status, flow, times, and its actions. */

import { compareUrl, path, runPath, withQuery, written } from "../api.js";
import { badge, whereBadge } from "../components/status.js";
import { code } from "../components/value.js";
import { frames } from "../editor.js";
import { announce, h, setAttribute, setText } from "../dom.js";
import {
  canCancel,
  canPause,
  canResume,
  canUnpause,
  done,
  lost,
  maps,
  openMap,
  shownStatus,
  sum,
  took,
} from "../model.js";
import { count, duration, setExactly } from "../time.js";
import { askCancel, askPause, askResume, askTune, askUnpause } from "./actions.js";

/** `changed(run)` is called with what the server answers to an action. */
export function runHead(first, changed) {
  let run = first;
  const status = badge(shownStatus(run));
  const started = h("time");
  const time = h("span");
  const items = h("span");
  const owner = h("span");
  const resumed = h("span");
  const notice = h("div");
  const button = (name, ask, kind = null) =>
    h("button", { type: "button", class: kind, onclick: () => ask(run, act) }, name);
  const cancel = button("Cancel…", askCancel, "danger");
  const resume = button("Resume…", askResume, "primary");
  const pause = button("Pause…", askPause);
  const unpause = button("Continue…", askUnpause, "primary");
  const tune = button("Concurrency…", () => askTune(run, openMap(run), announce));
  const like = { from: run.id, on: run.where === "aws" ? "aws" : null };
  const again = h(
    "a",
    { class: "button", href: withQuery(`/ui${path("flows", run.flow)}`, like) },
    "New run like this…",
  );
  const compare = h("a", { class: "button", href: compareUrl(run) }, "Compare…");
  const fact = (name, ...value) => h("div", null, h("dt", null, name), h("dd", null, ...value));
  const facts = {
    items: fact("Items", items),
    owner: fact("Process", owner),
    resumed: fact("Resumed", resumed),
  };
  const act = (fresh, words) => {
    announce(words);
    changed(fresh);
  };
  const node = h(
    "div",
    { class: "run-head" },
    h(
      "div",
      { class: "run-line" },
      status.node,
      whereBadge(run),
      h(
        "dl",
        { class: "run-facts" },
        fact("Flow", h("a", { href: `/ui${path("flows", run.flow)}` }, run.flow)),
        fact("Started", started),
        fact("Took", time),
        facts.items,
        facts.owner,
        facts.resumed,
      ),
      h("div", { class: "buttons" }, compare, again, resume, unpause, pause, tune, cancel),
    ),
    notice,
  );
  let noticed = null;
  return {
    node,
    update(fresh) {
      run = fresh;
      status.update(shownStatus(run));
      setExactly(started, run.started, "not yet");
      setText(time, duration(took(run)) || "–");
      const own = maps(run);
      const so = own.reduce((all, stage) => all + done(stage), 0);
      setText(items, `${count(so)} of ${count(sum(own, "total"))}`);
      setAttribute(facts.items, "hidden", own.length ? null : "");
      setText(owner, run.owner ? `${run.owner.process} on ${run.owner.host}` : "");
      setAttribute(facts.owner, "hidden", run.owner ? null : "");
      const times = run.resumes?.length ?? 0;
      setText(resumed, times === 1 ? "once" : `${count(times)} times`);
      setAttribute(facts.resumed, "hidden", times ? null : "");
      setAttribute(cancel, "hidden", canCancel(run) ? null : "");
      setAttribute(resume, "hidden", canResume(run) ? null : "");
      setAttribute(pause, "hidden", canPause(run) ? null : "");
      setAttribute(unpause, "hidden", canUnpause(run) ? null : "");
      setAttribute(tune, "hidden", openMap(run) ? null : "");
      setAttribute(resume, "class", run.status === "succeeded" ? null : "primary");
      const next = written([shownStatus(run), run.error, run.owner, run.waits_for]);
      if (next !== noticed) notice.replaceChildren(...noticeOf(run));
      noticed = next;
    },
  };
}

function noticeOf(run) {
  if (run.error && run.status === "failed") return [errorNotice(run)];
  const text = {
    lost:
      lost(run) &&
      `The process that ran it, ${run.owner.process} on ${run.owner.host}, is gone. Results are kept: resume it to continue.`,
    cancelling: "It is being cancelled: running calls may end first.",
    cancelled: "It was cancelled. Results are kept: resume it to continue.",
    queued: waitsFor(run.waits_for),
    pausing: "It is being paused: running calls end first.",
    paused:
      run.owner?.alive === false
        ? "It is paused, and its process is gone. Results are kept: resume it to continue."
        : "It is paused: nothing of it runs until it is continued.",
  }[shownStatus(run)];
  return text ? [h("p", { class: "notice", "data-status": shownStatus(run) }, text)] : [];
}

function waitsFor(needs) {
  if (!needs) return "It waits for a runner.";
  const offers = needs.source ? ` that offers ${needs.source}` : "";
  const folder = needs.folder ? `, started in ${needs.folder}` : "";
  const python = needs.prefix ? `, with the Python in ${needs.prefix}` : "";
  return `It waits for a runner of a server${offers}${folder}${python}.`;
}

function errorNotice(run) {
  const { error, stages } = run;
  const stage = stages.find((each) => each.failed > 0);
  const item = stage?.kind === "map" && Number.isInteger(error.index);
  const where = item
    ? h(
        "a",
        { href: `/ui${runPath(run, "stages", stage.position, "items", error.index)}` },
        `item ${count(error.index)}`,
      )
    : null;
  return h(
    "div",
    { class: "notice", "data-status": "failed" },
    h("p", null, h("strong", null, error.type), error.message ? `: ${error.message}` : ""),
    error.step &&
      h(
        "p",
        { class: "quiet" },
        `in ${error.step}`,
        where && ", ",
        where,
        error.attempt > 1 ? `, attempt ${error.attempt}` : "",
      ),
    error.traceback &&
      !stage &&
      h(
        "details",
        null,
        h("summary", null, "Traceback"),
        code(frames(run, error.traceback), `Traceback of ${error.type}`),
      ),
  );
}
