/** A flow as a graph: its stages in order, and in each map the chain that its items go through. */

import { runPath } from "../api.js";
import { h, keyed, setAttribute, setText } from "../dom.js";
import { done, stageStatus } from "../model.js";
import { count } from "../time.js";
import { mark } from "./status.js";

/** `update(structure)` draws a flow, `update(structure, run)` a run's state in it, with links to items. */
export function graph() {
  const node = h("ol", { class: "graph", "aria-label": "Graph of the flow" });
  return {
    node,
    update(structure, run = null) {
      const stages = structure.map((stage, position) => ({
        ...stage,
        position,
        run,
        begun: run?.stages.find((each) => each.position === position),
      }));
      keyed(node, stages, ({ position, steps }) => `${position} ${steps}`, stageNode);
    },
  };
}

function stageNode({ kind, steps, position, run }) {
  const isMap = kind === "map";
  const sign = h("span");
  const text = h("span", { class: "graph-text" });
  const link = h("a", null, run && sign, h("span", null, isMap ? "map" : steps[0]), text);
  const inner = isMap ? steps.map(innerNode) : [];
  const box = h(
    "div",
    { class: isMap ? "graph-node map" : "graph-node" },
    link,
    isMap && h("ol", { class: "graph" }, inner.map((each) => each.node)),
  );
  let drawn = null;
  return {
    node: h("li", null, box),
    update({ run, begun }) {
      if (!run) return;
      const status = begun ? stageStatus(begun, run) : "pending";
      if (status !== drawn) sign.replaceChildren(mark(status, begun ? status : "not yet"));
      drawn = status;
      setAttribute(box, "data-status", status);
      setText(text, begun && isMap ? `${count(done(begun))} of ${count(begun.total)}` : "");
      const items = runPath(run, "stages", position, "items", ...(isMap ? [] : [0]));
      setAttribute(link, "href", begun && (isMap || begun.finished) ? `/ui${items}` : null);
      inner.forEach((each) => each.update(begun?.inner?.find(({ step }) => step === each.step)));
    },
  };
}

/** A step of a map; of several, with the number of items that have passed it. */
function innerNode(step) {
  const text = h("span", { class: "graph-text" });
  return {
    step,
    node: h("li", null, h("span", { class: "graph-node" }, step, text)),
    update(known) {
      const failed = known?.failed_attempts;
      const words = [count(known?.succeeded ?? 0), failed > 0 && `${count(failed)} failed`];
      setText(text, known ? words.filter(Boolean).join(", ") : "");
    },
  };
}
