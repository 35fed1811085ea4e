/** JSON as a tree that opens; of what is long, a part at a time. */

import { h } from "../dom.js";
import { count } from "../time.js";

const PART = 100;
const LONG_TEXT = 2000;

export function json(value, { open = true } = {}) {
  return h("div", { class: "json" }, entry(null, value, open));
}

function entry(name, value, open) {
  const label = name === null ? null : h("span", { class: "json-key" }, name, ": ");
  if (value === null || typeof value !== "object") return h("div", null, label, simple(value));
  const entries = Array.isArray(value)
    ? value.map((each, index) => [index, each])
    : Object.entries(value);
  const [left, right] = Array.isArray(value) ? "[]" : "{}";
  if (!entries.length) return h("div", null, label, left + right);
  const inside = h("div", { class: "json-inside" });
  const details = h(
    "details",
    { open },
    h(
      "summary",
      null,
      label,
      `${left}…${right} `,
      h("small", null, `${count(entries.length)} ${entries.length === 1 ? "entry" : "entries"}`),
    ),
    inside,
  );
  const grow = (from) => {
    inside.append(
      ...entries.slice(from, from + PART).map(([key, each]) => entry(key, each, false)),
    );
    if (entries.length <= from + PART) return;
    const more = h(
      "button",
      { type: "button", onclick: () => (more.remove(), grow(from + PART)) },
      `more: ${count(entries.length - from - PART)}`,
    );
    inside.append(more);
  };
  const first = () => inside.firstChild ?? grow(0);
  if (open) first();
  details.addEventListener("toggle", first);
  return details;
}

function simple(value) {
  if (typeof value !== "string") {
    return h("span", { class: "json-other" }, String(value));
  }
  const text = value.length > LONG_TEXT ? `${value.slice(0, LONG_TEXT)}…` : value;
  return h("span", { class: "json-text" }, JSON.stringify(text));
}

export function bytes(number) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit++;
  }
  return `${unit ? number.toFixed(1) : number} ${units[unit]}`;
}

/** A traceback or other text of code, scrolled in itself. */
export function code(content, label) {
  return h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": label }, content);
}
