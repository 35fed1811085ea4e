/** The colours: those of the system, light or dark. `early.js` sets what was chosen before. */

import { h, setAttribute } from "../dom.js";
import { icon } from "../icons.js";
import { keep } from "../kept.js";

const SCHEMES = ["system", "light", "dark"];
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const current = () => root.dataset.scheme ?? "system";

/** Go on to the next scheme. */
export function nextScheme() {
  const next = SCHEMES[(SCHEMES.indexOf(current()) + 1) % SCHEMES.length];
  if (next === "system") delete root.dataset.scheme;
  else root.dataset.scheme = next;
  keep("scheme", next === "system" ? null : next);
  root.dispatchEvent(new Event("scheme"));
}

/** Call a function whenever the colours change; gives one that ends it. */
export function onScheme(changed) {
  system.addEventListener("change", changed);
  root.addEventListener("scheme", changed);
  return () => {
    system.removeEventListener("change", changed);
    root.removeEventListener("scheme", changed);
  };
}

export function schemeButton() {
  const button = h("button", { type: "button", class: "plain", onclick: nextScheme });
  const draw = () => {
    button.replaceChildren(icon(current()));
    setAttribute(button, "aria-label", `Colours: ${current()}`);
    setAttribute(button, "title", `Colours: ${current()}`);
  };
  onScheme(draw);
  draw();
  return button;
}
