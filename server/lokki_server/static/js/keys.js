/** The keyboard map: keys that go to pages, rows and fields, and the dialog that lists them. */

import { nextScheme } from "./components/scheme.js";
import { notice } from "./components/dialog.js";
import { h } from "./dom.js";
import { keep, kept } from "./kept.js";
import { navigate } from "./router.js";

const PAIR_MS = 1500;
const main = document.getElementById("main");

const within = (selector) => [...main.querySelectorAll(selector)].filter((each) => each.checkVisibility());
const click = (selector, index = 0) => within(selector)[index]?.click();

/** Move the focus by rows of a table, or cards. */
function move(by) {
  const links = within("tbody th a, .cards h2 a");
  const at = links.findIndex((link) => link.closest("tr, li").contains(document.activeElement));
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by];
  next?.focus();
}

function search() {
  const [field] = within("input[type=search]");
  if (field) field.select();
  else navigate("/ui/runs");
}

const GROUPS = [
  [
    "Pages",
    [
      ["g r", "Runs", () => navigate("/ui/runs")],
      ["g f", "Flows", () => navigate("/ui/flows")],
      ["g s", "Schedules", () => navigate("/ui/schedules")],
      ["/", "Search runs, or the lines of a log", search],
    ],
  ],
  [
    "Lists",
    [
      ["j", "Next row", () => move(1)],
      ["k", "Row before", () => move(-1)],
      ["Enter", "Open the row", null],
      ["x", "Select the run of the row", () => document.activeElement.closest("tr")?.querySelector("input")?.click()],
      ["]", "Next page, or item", () => click("a[rel=next]")],
      ["[", "First page, or item before", () => click("a[rel=prev]")],
    ],
  ],
  [
    "A run",
    [
      ["1", "Overview", () => click(".tabs a", 0)],
      ["2", "Items, of a run that has stages", () => click(".tabs a[href*='/items']")],
      ["3", "Logs", () => click(".tabs a[href$='/logs']")],
      ["4", "Result", () => click(".tabs a[href$='/result']")],
    ],
  ],
  [
    "Anywhere",
    [
      ["t", "Colours: system, light, dark", nextScheme],
      ["?", "These keys", () => showKeys()],
      ["Esc", "Close a dialog", null],
    ],
  ],
];
const ACTS = new Map(GROUPS.flatMap(([, keys]) => keys.map(([key, , act]) => [key, act])));

const areOn = () => kept("keys") !== "off";

/** Listen for the keys, except where text is written. `?` always opens the list, which turns them on again. */
export function listenForKeys() {
  let first = null;
  let began = 0;
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const writes = target.closest("input:not([type=checkbox], [type=radio]), select, textarea");
    if (writes || document.querySelector("dialog[open]") || key === "Shift") return;
    const pair = first && event.timeStamp - began < PAIR_MS ? `${first} ${key}` : key;
    first = key;
    began = event.timeStamp;
    const act = ACTS.get(pair) ?? ACTS.get(key);
    if (!act || !(areOn() || key === "?")) return;
    event.preventDefault();
    act();
  });
}

export function showKeys() {
  const off = h("input", {
    type: "checkbox",
    checked: areOn(),
    onchange: () => keep("keys", off.checked ? null : "off"),
  });
  const row = ([keys, text]) =>
    h("div", null, h("dt", null, keys.split(" ").map((key) => [" ", h("kbd", null, key)])), h("dd", null, text));
  notice("Keyboard", [
    h(
      "div",
      { class: "keys" },
      GROUPS.map(([title, keys]) => h("section", null, h("h3", null, title), h("dl", null, keys.map(row)))),
    ),
    h("label", { class: "chip" }, off, "use these keys"),
  ]);
}
