/** The title of a run: its flow and parameters, below them its id. */

import { written } from "../api.js";
import { announce, h } from "../dom.js";

const MOST = 6;
const LONGEST = 40;

export function runTitle(run) {
  const params = Object.entries(run.params);
  const more = params.length - MOST;
  return [
    h(
      "h1",
      { class: "run-title" },
      run.flow,
      params.slice(0, MOST).map(([name, value]) => [" ", h("span", null, `${name}=${short(value)}`)]),
      more > 0 && h("span", null, ` and ${more} more`),
    ),
    h("p", { class: "run-id" }, h("span", { class: "id" }, run.id), copyButton(run.id)),
  ];
}

function short(value) {
  const text = written(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** None where the browser lets no page write to the clipboard: over HTTP from another machine. */
function copyButton(id) {
  if (!navigator.clipboard) return null;
  const copy = async () => {
    await navigator.clipboard.writeText(id);
    announce("The id is copied");
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  };
  const button = h("button", { type: "button", class: "small", onclick: copy, "aria-label": `Copy the id ${id}` }, "Copy");
  return button;
}
