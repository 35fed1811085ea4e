/** The overview of a run: its stages in time, each map as a strip, failures in groups, facts. */

import { written } from "../api.js";
import { graph } from "../components/graph.js";
import { tags } from "../components/tags.js";
import { json } from "../components/value.js";
import { h, keyed } from "../dom.js";
import { maps } from "../model.js";
import { when } from "../time.js";
import { failures } from "./failures.js";
import { mapCard } from "./map.js";
import { shown } from "./shown.js";
import { timeline } from "./timeline.js";

export function overview({ run: first, reload }) {
  const values = shown(first);
  const drawing = graph();
  const stages = timeline();
  const cards = h("div");
  const parts = new Set();
  const groups = failures(reload);
  const facts = h("div");
  const node = h(
    "div",
    null,
    h(
      "section",
      { class: "card", "aria-labelledby": "stages" },
      h("h2", { id: "stages" }, "Stages"),
      drawing.node,
      stages.node,
    ),
    cards,
    groups.node,
    values.node,
    facts,
  );
  let drawn = null;
  return {
    node,
    update(run) {
      drawing.update(run.structure, run);
      stages.update(run);
      keyed(
        cards,
        maps(run).map((stage) => ({ run, stage })),
        ({ stage }) => stage.position,
        ({ run, stage }) => {
          const part = mapCard(run, stage);
          parts.add(part);
          return part;
        },
      );
      groups.update(run);
      values.update(run);
      const known = written([run.params, run.resumes, run.source, run.started_by, run.folder, run.code, run.commit]);
      if (known !== drawn) facts.replaceChildren(...factsOf(run));
      drawn = known;
    },
    close() {
      values.close();
      for (const part of parts) part.close();
    },
  };
}

function factsOf(run) {
  const fact = (name, value) =>
    value ? h("div", null, h("dt", null, name), h("dd", null, value)) : null;
  const params = Object.keys(run.params ?? {}).length;
  return [
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { class: "card", "aria-labelledby": "params" },
        h("h2", { id: "params" }, "Parameters"),
        params ? json(run.params) : h("p", { class: "quiet" }, "none"),
      ),
      h(
        "section",
        { class: "card", "aria-labelledby": "origin" },
        h("h2", { id: "origin" }, "Origin"),
        h(
          "dl",
          { class: "facts" },
          fact("Created", when(run.created)),
          fact("Finished", run.finished && when(run.finished)),
          fact("Tags", tags(run.tags)),
          fact("Started by", run.started_by && h("code", null, run.started_by)),
          fact("Folder", run.folder && h("code", null, run.folder)),
          fact("Source", run.source && h("code", null, run.source)),
          fact("Code", run.code && [h("code", null, run.code), run.commit && [" at ", h("code", null, run.commit.slice(0, 12))]]),
          fact("Versions", run.lokki_version && `lokki ${run.lokki_version}, Python ${run.python_version}`),
        ),
        resumes(run.resumes ?? []),
      ),
    ),
  ];
}

function resumes(all) {
  if (!all.length) return null;
  return [
    h("h3", null, "Resumes"),
    h(
      "ol",
      { class: "resumes" },
      all.map(({ at, by, again }) =>
        h(
          "li",
          null,
          when(at),
          by && [" by ", h("code", null, by)],
          h(
            "ul",
            null,
            again.map((text) => h("li", null, text)),
          ),
        ),
      ),
    ),
  ];
}
