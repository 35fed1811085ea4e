/** The actions on a run, each after a confirmation. */

import { post, runPath } from "../api.js";
import { choice, confirm } from "../components/dialog.js";
import { h } from "../dom.js";
import { done, sum } from "../model.js";
import { count } from "../time.js";

export function askCancel(run, act) {
  confirm({
    title: "Cancel this run?",
    content: h(
      "p",
      null,
      "Results are kept, and the run can be resumed. Running calls are stopped; calls in threads run to their end.",
    ),
    verb: "Cancel the run",
    danger: true,
    act: async () =>
      act(await post(runPath(run, "cancel"), {}), "The run is being cancelled"),
  });
}

export function askPause(run, act) {
  confirm({
    title: "Pause this run?",
    content: h(
      "p",
      null,
      "Nothing more begins. The run is paused when its running calls have ended; it then holds no worker, until it is continued.",
    ),
    verb: "Pause the run",
    act: async () => act(await post(runPath(run, "pause"), {}), "The run is being paused"),
  });
}

export function askUnpause(run, act) {
  confirm({
    title: "Continue this run?",
    content: h("p", null, "It continues where it was paused."),
    verb: "Continue the run",
    act: async () => act(await post(runPath(run, "unpause"), {}), "The run continues"),
  });
}

/** `said(words)` is called with what has been changed. */
export function askTune(run, map, said) {
  const input = h("input", { type: "number", min: 1, max: 10000, required: true });
  confirm({
    title: `How many items of ${map.name} run at a time?`,
    content: [
      h("p", null, "From now on, until the map ends. Calls that have begun go on."),
      h("div", { class: "field" }, h("label", null, "Concurrency ", input)),
    ],
    verb: "Change",
    async act() {
      const { stage, concurrency } = await post(runPath(run, "tune"), {
        concurrency: Number(input.value),
      });
      said(`${stage}: ${count(concurrency)} at a time`);
    },
  });
}

export function askResume(run, act) {
  const tolerated = sum(run.stages, "tolerated");
  const failed = sum(run.stages, "failed");
  const left = run.stages.reduce((all, stage) => all + stage.total - done(stage), 0);
  const counts = [failed && `${count(failed)} failed`, left && `${count(left)} not done`]
    .filter(Boolean)
    .join(", ");
  const options = [];
  if (run.status !== "succeeded") options.push(["rest", "Everything that is not done", counts]);
  if (tolerated)
    options.push([
      "failed",
      "Tolerated failures too",
      `${count(tolerated)} tolerated, and the stages after them`,
    ]);
  const stage = h(
    "select",
    { "aria-label": "Stage" },
    run.stages.map(({ name }) => h("option", null, name)),
  );
  if (run.stages.length) options.push(["from", "A stage and all later ones"]);
  const chosen = choice("Run again", options);
  const from = h("div", { class: "field", hidden: true }, stage);
  chosen.node.addEventListener("change", () => (from.hidden = chosen.value() !== "from"));
  from.hidden = chosen.value() !== "from";
  const onAws = run.where === "aws";
  const code = onAws ? "the code that it was started with, where AWS can start it again" : "the current code";
  const deployed = h("input", { type: "checkbox" });
  confirm({
    title: "Resume this run?",
    content: [
      h("p", null, `It continues with ${code}. What has finished does not run again.`),
      chosen.node,
      from,
      onAws && h("label", null, deployed, " In a new run, with the code that is deployed now"),
    ].filter(Boolean),
    verb: "Resume",
    async act() {
      const body = { rest: {}, failed: { failed: true }, from: { from: stage.value } }[
        chosen.value()
      ];
      if (deployed.checked) body.deployed = true;
      act(await post(runPath(run, "resume"), body), "The run is resumed");
    },
  });
}

/** What a resume runs again for a group: on AWS, all tolerated failures go together. */
function againOf(run, group) {
  if (!group.tolerated) return {};
  return run.where === "aws" ? { failed: true } : { error: group.id };
}

/** Run a failure group again; failures that were not tolerated run with everything that is not done. */
export function askGroup(run, group, done) {
  const own = group.tolerated && !group.failed;
  confirm({
    title: `Run ${count(group.count)} ${group.count === 1 ? "item" : "items"} again?`,
    content: [
      h("p", null, h("strong", null, group.type), group.message ? `: ${group.message}` : ""),
      h(
        "p",
        null,
        own
          ? "The stages after them run again, too."
          : "Everything that is not done runs again with them.",
        " The code is as it is now.",
      ),
    ],
    verb: "Run again",
    act: async () =>
      done(await post(runPath(run, "resume"), againOf(run, group))),
  });
}
