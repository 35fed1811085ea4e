/** The tags of a run; each leads to the runs that have it. */

import { withQuery } from "../api.js";
import { h } from "../dom.js";

export const tags = (all) =>
  all?.length > 0 &&
  h(
    "ul",
    { class: "tags", "aria-label": "Tags" },
    all.map((tag) => h("li", null, h("a", { href: withQuery("/ui/runs", { tag }) }, tag))),
  );
