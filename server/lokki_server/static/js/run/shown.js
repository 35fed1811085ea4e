/** What steps have shown with lokki.show: texts, tables, pictures and pages. */

import { get, getText, runPath, withQuery } from "../api.js";
import { markdown } from "../components/markdown.js";
import { fetched } from "../components/states.js";
import { bytes } from "../components/value.js";
import { h, keyed, throttle } from "../dom.js";
import { ended } from "../model.js";
import { count, when } from "../time.js";

const PART = 24;
const MOST = 1000;
const ROWS = 50;
const DIGITS = 6;
const LOOK_MS = 3000;
const LOOK_ON_AWS_MS = 15_000;
const MOST_TEXT = 2_000_000;
const WITHOUT_SCRIPTS = "allow-popups allow-popups-to-escape-sandbox";

/** A card of what a run has shown, hidden as long as there is nothing; `belongs` selects values. */
export function shown(first, { asked = {}, belongs = () => true } = {}) {
  const abort = new AbortController();
  const list = h("div", { class: "shown" });
  const more = h("button", { type: "button", hidden: true, onclick: grow }, "Show more");
  const node = h(
    "section",
    { class: "card", "aria-labelledby": "shown", hidden: true },
    h("h2", { id: "shown" }, "Shown by steps"),
    list,
    more,
  );
  let limit = PART;
  let hasEnded = null;

  async function load() {
    let found;
    try {
      const url = withQuery(runPath(first, "attachments"), { ...asked, limit });
      found = await get(url, abort.signal);
    } catch {
      return; // what is there stays; the banner shows a lost connection
    }
    const values = found.attachments.filter(belongs);
    node.hidden = !values.length;
    more.hidden = !found.next || limit >= MOST;
    keyed(
      list,
      values,
      ({ name, at }) => `${name} ${at}`,
      (value) => ({ node: figure(first, value) }),
    );
  }

  function grow() {
    limit = Math.min(MOST, limit + 4 * PART);
    load();
  }

  const look = throttle(load, first.where === "aws" ? LOOK_ON_AWS_MS : LOOK_MS);
  return {
    node,
    update(run) {
      if (hasEnded !== true) look();
      hasEnded = ended(run);
    },
    close() {
      abort.abort();
      look.stop();
    },
  };
}

function figure(run, value) {
  const { name, step, item, attempt, at, title, type, size } = value;
  const url = runPath(run, "attachments", name);
  const from = item === null ? step : `${step}[${count(item)}]`;
  const page = type === "text/html" || type === "text/markdown";
  const place = h("div", { class: "shown-value" });
  const text = title ?? from;
  whenSeen(place, () => draw(place, value, url, text));
  return h(
    "figure",
    { "data-type": type },
    h(
      "figcaption",
      null,
      h("h3", null, text),
      h(
        "span",
        { class: "quiet" },
        h("code", null, from),
        attempt > 1 ? `, attempt ${attempt}, ` : ", ",
        when(at),
        `, ${bytes(size)} `,
        h("a", { href: page ? `${url}/page` : `${url}/content`, target: "_blank" }, "Open"),
        " ",
        h("a", { href: `${url}/content`, download: "" }, "Download"),
      ),
    ),
    place,
  );
}

/** Do something when an element comes into view. */
function whenSeen(node, act) {
  const watch = new IntersectionObserver(
    (entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      watch.disconnect();
      act();
    },
    { rootMargin: "400px" },
  );
  watch.observe(node);
}

function draw(place, { type }, url, text) {
  if (type.startsWith("image/")) {
    place.append(h("img", { src: `${url}/content`, alt: text }));
  } else if (type === "text/html") {
    place.append(...frame(`${url}/page`, text));
  } else if (type === "text/markdown") {
    fetched(place, (signal) => getText(`${url}/page`, MOST_TEXT, signal), markdown);
  } else {
    fetched(
      place,
      (signal) => get(`${url}/content`, signal),
      (found) => table(found, text),
    );
  }
}

/** A page in a frame of its own, without scripts until somebody asks for them. */
function frame(url, title) {
  const made = h("iframe", { src: url, title, sandbox: WITHOUT_SCRIPTS, loading: "lazy" });
  const note = h(
    "p",
    { class: "note" },
    "Its scripts are off. ",
    h("button", { type: "button", onclick: run }, "Run its scripts"),
  );
  function run() {
    made.setAttribute("sandbox", `allow-scripts ${WITHOUT_SCRIPTS}`);
    made.src = `${url}?scripts=true`;
    note.remove();
  }
  return [note, made];
}

const rounds = (value) => typeof value === "number" && !Number.isInteger(value);
const short = (value) =>
  value === null ? "" : String(rounds(value) ? Number(value.toPrecision(DIGITS)) : value);

/** A table, some rows at a time. */
export function table({ columns, rows, cut }, title) {
  const body = h("tbody");
  const more = h("button", { type: "button", onclick: grow });
  const numeric = columns.map((_, at) =>
    rows.every((row) => row[at] === null || ["number", "bigint"].includes(typeof row[at])),
  );
  const cell = (value, at) =>
    h("td", { class: numeric[at] && "number", title: rounds(value) && value }, short(value));
  let drawn = 0;
  function grow() {
    const next = rows.slice(drawn, drawn + ROWS);
    body.append(...next.map((row) => h("tr", null, row.map(cell))));
    drawn += next.length;
    more.textContent = `more: ${count(rows.length - drawn)}`;
    more.hidden = drawn === rows.length;
  }
  grow();
  const head = columns.map((name, at) => h("th", { scope: "col", class: numeric[at] && "number" }, name));
  return [
    h(
      "div",
      { class: "data-box", tabindex: "0", role: "region", "aria-label": `Table: ${title}` },
      h("table", null, h("thead", null, h("tr", null, head)), body),
    ),
    more,
    cut ? h("p", { class: "note" }, `Only ${cut}.`) : null,
  ].filter(Boolean);
}
