/** What follows from a run's JSON. */

import { now } from "./time.js";

export const RUN_STATUSES = ["queued", "running", "paused", "succeeded", "failed", "cancelled"];
export const ITEM_STATUSES = [
  "pending",
  "running",
  "retrying",
  "succeeded",
  "failed",
  "tolerated",
  "cancelled",
  "paused",
];
const ENDED = ["succeeded", "failed", "cancelled"];

export const ended = (run) => ENDED.includes(run.status);
export const lost = (run) => run.status === "running" && run.owner?.alive === false;

/** The status in a word: that of the journal, or a more precise one for a running run. */
export function shownStatus(run) {
  if (lost(run)) return "lost";
  if (run.status !== "running") return run.status;
  return run.cancel_requested ? "cancelling" : run.pause_requested ? "pausing" : run.status;
}

/** Seconds that a run or a stage has taken; whole ones while it is running. */
export function took(timed, run = timed) {
  run.heard ??= now();
  const goes = run.status === "running" && !lost(run) && !timed.finished;
  return goes ? Math.floor(timed.duration + Math.max(0, now() - run.heard) / 1000) : timed.duration;
}

/** A run's id may be one of the journal and of AWS, too. */
export const keyOf = (run) => `${run.where} ${run.id}`;

/** Runs, the newest first. */
export const newestFirst = (runs) =>
  [...runs].sort((one, two) => {
    const [first, second] = [one, two].map((run) => `${run.created} ${run.id}`);
    return first < second ? 1 : -1;
  });

export const maps = (run) => run.stages.filter((stage) => stage.kind === "map");
export const done = (stage) => stage.succeeded + stage.failed + stage.tolerated;
export const sum = (stages, name) => stages.reduce((total, stage) => total + stage[name], 0);

export function stageStatus(stage, run) {
  if (stage.failed) return "failed";
  if (stage.finished) return "succeeded";
  return ended(run) ? run.status : shownStatus(run);
}

/** A stage of a structure in text: `map(b → c)`. */
export const stageText = ({ kind, steps }) =>
  kind === "map" ? `map(${steps.join(" → ")})` : steps.join(" → ");

/** The steps of a stage of a run. */
export const stepsAt = (run, position) => run.structure[position]?.steps ?? [];

/** Whether it is paused, and something can continue it: its process, or a runner. */
const waits = (run) => run.status === "paused" && run.owner?.alive !== false;

const goesOn = (run) => ["queued", "running"].includes(run.status) && !lost(run);

export const canPause = (run) =>
  run.where !== "aws" && goesOn(run) && !run.cancel_requested && !run.pause_requested;
export const canUnpause = (run) => waits(run) || (goesOn(run) && Boolean(run.pause_requested));
export const openMap = (run) =>
  ended(run) || lost(run) ? undefined : maps(run).find(({ finished }) => !finished);

export const canCancel = (run) => !ended(run) && !lost(run) && !run.cancel_requested;

/** Whether there is anything to resume: what is not done, or tolerated failures. */
export function canResume(run) {
  const rests = ended(run) || lost(run) || (run.status === "paused" && !waits(run));
  return rests && (run.status !== "succeeded" || sum(run.stages, "tolerated") > 0);
}

/** How many items have failed so far, or are retrying. */
const troubled = ({ stages }) =>
  sum(stages, "failed") + sum(stages, "tolerated") + sum(stages, "retrying");

/** A key of failures and inner steps: when it changes, they may have changed. */
export function signs(run) {
  const timed = run.where === "aws" ? [] : run.stages; // AWS does not time inner steps
  const chained = timed.filter(({ position }) => stepsAt(run, position).length > 1);
  return [troubled(run), ...chained.map(done)].join();
}

/** A run that was sent without failures, inner steps and resumes, completed with those known before. */
export function completed(run, before) {
  const known = new Map(before.stages.map((stage) => [stage.position, stage]));
  const stages = run.stages.map((stage) => ({
    ...stage,
    failures: stage.failures?.length ? stage.failures : known.get(stage.position)?.failures,
    inner: stage.inner?.length ? stage.inner : known.get(stage.position)?.inner,
  }));
  return { ...run, stages, resumes: run.resumes?.length ? run.resumes : before.resumes };
}
