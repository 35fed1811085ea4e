/** Runs of a list that are selected, to cancel or resume them together. */

import { post, runPath } from "../api.js";
import { announce, h, setAttribute, setText } from "../dom.js";
import { canCancel, canResume, keyOf } from "../model.js";
import { count } from "../time.js";
import { confirm } from "./dialog.js";

/** How many requests are sent at a time. */
const AT_A_TIME = 4;

const runsOf = (number) => `${count(number)} ${number === 1 ? "run" : "runs"}`;

/** `changed(run)` is called with what the server answers for each. */
export function selection(changed) {
  const keys = new Set();
  let shown = [];
  const text = h("strong", { role: "status" });
  const cancel = h("button", { type: "button", class: "danger", onclick: () => ask(CANCEL) });
  const resume = h("button", { type: "button", class: "primary", onclick: () => ask(RESUME) });
  const all = h("button", { type: "button", onclick: () => choose(shown) }, "All shown");
  const none = h("button", { type: "button", onclick: () => choose([]) }, "None");
  const node = h(
    "div",
    { class: "selection", role: "group", "aria-label": "Selected runs", hidden: true },
    text,
    h("div", { class: "buttons" }, all, none, resume, cancel),
  );
  const boxes = new Map();
  const chosen = () => shown.filter((run) => keys.has(keyOf(run)));

  function choose(runs) {
    keys.clear();
    for (const run of runs) keys.add(keyOf(run));
    draw();
  }

  function draw() {
    const own = chosen();
    for (const [key, box] of boxes) box.checked = keys.has(key);
    setAttribute(node, "hidden", own.length ? null : "");
    setText(text, own.length ? `${runsOf(own.length)} selected` : "");
    for (const [button, { verb, fits }] of [[cancel, CANCEL], [resume, RESUME]]) {
      const number = own.filter(fits).length;
      setText(button, `${verb} ${count(number)}…`);
      setAttribute(button, "hidden", number ? null : "");
    }
  }

  function ask({ verb, path, fits, danger, about, done }) {
    const left = new Map(chosen().filter(fits).map((run) => [keyOf(run), run]));
    const number = left.size;
    confirm({
      title: `${verb} ${runsOf(number)}?`,
      content: h("p", null, about),
      verb: `${verb} ${runsOf(number)}`,
      danger,
      async act() {
        const refused = await each([...left.values()], async (run) => {
          const fresh = await post(runPath(run, path), {});
          left.delete(keyOf(run));
          keys.delete(keyOf(run));
          changed(fresh);
        });
        draw();
        if (refused.length) throw new Error(`${runsOf(refused.length)} of ${count(number)} refused: ${refused[0]}`);
        announce(`${runsOf(number)} ${done}`);
      },
    });
  }

  return {
    node,
    /** The box of a run's row. */
    box(run) {
      const key = keyOf(run);
      const box = h("input", {
        type: "checkbox",
        "aria-label": `Select ${run.id}`,
        onchange: () => (box.checked ? keys.add(key) : keys.delete(key), draw()),
      });
      boxes.set(key, box);
      return { node: box, update: () => (box.checked = keys.has(key)) };
    },
    /** Those that are not in the list any more are not selected. */
    update(runs) {
      shown = runs;
      const there = new Set(runs.map(keyOf));
      for (const key of keys) if (!there.has(key)) keys.delete(key);
      for (const key of boxes.keys()) if (!there.has(key)) boxes.delete(key);
      draw();
    },
  };
}

const CANCEL = {
  verb: "Cancel",
  path: "cancel",
  fits: canCancel,
  danger: true,
  about: "Results are kept, and the runs can be resumed. Running calls are stopped; calls in threads run to their end.",
  done: "are being cancelled",
};
const RESUME = {
  verb: "Resume",
  path: "resume",
  fits: (run) => canResume(run) && run.status !== "succeeded",
  danger: false,
  about: "They continue with the current code; on AWS, with the code that they were started with. What has finished does not run again.",
  done: "are resumed",
};

/** Call `work` for each, a few at a time; the messages of those that it failed for. */
async function each(all, work) {
  const waiting = [...all];
  const refused = [];
  const worker = async () => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      await work(one).catch((problem) => refused.push(`${one.id}: ${problem.message}`));
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  return refused;
}
