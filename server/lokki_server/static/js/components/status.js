import { h, setAttribute } from "../dom.js";
import { icon } from "../icons.js";

/** A status as a mark and a word; `update(status)` changes it. */
export function badge(status) {
  const node = h("span", { class: "badge" });
  const update = (to) => {
    if (node.dataset.status === to) return;
    setAttribute(node, "data-status", to);
    node.replaceChildren(icon(to), to);
  };
  update(status);
  return { node, update };
}

/** Where a run is, if it is not of the journal. */
export const whereBadge = (run) =>
  run.where === "aws" && h("span", { class: "where", title: "This run is on AWS" }, "AWS");

/** A status as a mark alone, with the word for screen readers. */
export function mark(status, label = status) {
  return h(
    "span",
    { class: "mark", "data-status": status, role: "img", "aria-label": label, title: label },
    icon(status),
  );
}
