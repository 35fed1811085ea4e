import { h } from "../dom.js";
import { count } from "../time.js";

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const ESCAPES = /\x1b\[[0-9;]*[A-Za-z]/g;

/** A line of the log, with `search` marked in it; a terminal's colours are left out. */
export function logLine({ ts: at, step, item, attempt, level, source, message }, search) {
  const from = item === null || item === undefined ? step : `${step}[${count(item)}]`;
  const again = attempt > 1 ? ` attempt ${attempt}` : "";
  return h(
    "div",
    { class: "line", "data-level": level, title: `${source ?? ""}${again}` },
    h(
      "time",
      { datetime: at, title: at.replace("T", " ").replace("Z", " UTC") },
      `${clock.format(new Date(at))}${at.slice(19, 23)}`,
    ),
    h("span", { class: "line-level" }, level),
    h("span", { class: "line-from" }, from ?? ""),
    h("span", { class: "line-text" }, marked(message.replace(ESCAPES, ""), search)),
  );
}

function marked(text, search) {
  if (!search) return text;
  const wanted = new RegExp(`(${search.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")})`, "iu");
  return text.split(wanted).map((part, index) => (index % 2 ? h("mark", null, part) : part));
}
