/** The result of a run. */

import { getText, parsed, runPath } from "../api.js";
import { empty, fetched } from "../components/states.js";
import { bytes, json } from "../components/value.js";
import { h } from "../dom.js";
import { shownStatus } from "../model.js";
import { table } from "./shown.js";

const MOST = 1_000_000;

export function resultView({ run: first }) {
  const place = h("div", { class: "stack" });
  const node = h(
    "section",
    { class: "card", "aria-labelledby": "result" },
    h("h2", { id: "result" }, "Result"),
    place,
  );
  let shown = null;
  let stop = () => {};
  return {
    node,
    update(run = first) {
      const word = shownStatus(run);
      if (word === shown) return;
      shown = word;
      stop();
      if (run.status !== "succeeded") {
        const reason = run.finished
          ? `The run has ${run.status === "failed" ? "failed" : "been cancelled"}: it has no result`
          : `No result yet: the run is ${word}`;
        place.replaceChildren(empty(reason));
        return;
      }
      const url = runPath(run, "result");
      stop = fetched(
        place,
        (signal) => getText(url, MOST, signal),
        (text) => draw(text, url, run),
      );
    },
    close: () => stop(),
  };
}

function draw(text, url, { id }) {
  const download = h(
    "p",
    null,
    h("a", { class: "button", href: url, download: `${id}.json` }, "Download JSON"),
  );
  if (text === null) return [h("p", null, "It is too long to show here."), download];
  const answer = parsed(text);
  if (answer.download) {
    return [
      h("p", null, h("code", null, answer.type), `, ${bytes(answer.bytes)}`),
      ...(answer.preview ? table(answer.preview, answer.type) : []),
      h(
        "p",
        null,
        h(
          "a",
          { class: "button", href: answer.download, download: `${id}.pickle` },
          "Download the pickle",
        ),
      ),
      h("p", { class: "note" }, "Open a pickle only if you trust whoever wrote it."),
    ];
  }
  return [json(answer.result), download];
}
