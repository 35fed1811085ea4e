import { h } from "../dom.js";

/** The stages of a flow in a row; the arrows are said as "then". */
export function chain(parts) {
  return h(
    "ol",
    { class: "chain" },
    parts.map((part) => h("li", null, part)),
  );
}
