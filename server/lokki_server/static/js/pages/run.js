/** One run: its head, and below it one view: overview, items, an item, logs or the result. */

import { get, runPath } from "../api.js";
import { failure, loading } from "../components/states.js";
import { announce, h, keyed, setAttribute, setText, throttle } from "../dom.js";
import { follow } from "../events.js";
import { completed, ended, maps, shownStatus, signs } from "../model.js";
import { focusHeading, navigate, setTitle } from "../router.js";
import { runHead } from "../run/head.js";
import { runTitle } from "../run/title.js";
import { itemView } from "../run/item.js";
import { itemsView } from "../run/items.js";
import { logsView } from "../run/logs.js";
import { overview } from "../run/overview.js";
import { resultView } from "../run/result.js";

const REDRAW_MS = 300;
const END_MS = 1000;
const NEWS_MS = 2000;

export default function runPage(match) {
  const { id, flow } = match.params;
  const address = runPath({ id, flow, where: flow ? "aws" : "local" });
  const abort = new AbortController();
  let run = null;
  let view = null;
  let stop = () => {};
  let streamed = null;
  let status = null;
  let ending = null;
  let reloads = 0;
  let known = ""; // signs of news, when they were asked for last

  const place = h("div", null, loading("Loading the run…"));
  const node = h(
    "div",
    { class: "page" },
    h("p", { class: "crumbs" }, h("a", { href: "/ui/runs" }, "Runs")),
    h("h1", null, id),
    place,
  );
  const main = h("div", { class: "view" });
  const tabs = h("ul");
  let head = null;

  const draw = throttle(() => {
    head.update(run);
    keyed(tabs, tabsOf(run, match), ({ text }) => text, tab);
    view?.update?.(run);
    const word = shownStatus(run);
    if (status && status !== word) announce(`Status of the run: ${word}`);
    status = word;
    setTitle(`${word} ${run.flow} ${run.id}`);
  }, REDRAW_MS);

  /** Take the run as the stream sends it, and ask for failures and inner steps that are new. */
  const take = (fresh) => {
    run = completed(fresh, run);
    draw();
    if (signs(run) !== known) look();
  };
  const reload = async () => {
    const own = ++reloads;
    try {
      const fresh = await get(address, abort.signal);
      if (own !== reloads) return; // a later answer has come before this one
      run = fresh;
      known = signs(run);
      draw();
      listen(); // it may have been resumed
    } catch {
      // What is there stays; the banner shows a lost connection.
    }
  };

  const look = throttle(reload, NEWS_MS);

  /** Follow the run while it goes on, with log lines where they are shown. */
  function listen() {
    const logs = view.kind === "logs";
    const wanted = ended(run) ? null : `${runPath(run, "events")}${logs ? "?logs=1" : ""}`;
    if (wanted === streamed) return;
    stop();
    streamed = wanted;
    stop = () => {};
    if (!wanted) return;
    let opened = 0;
    stop = follow(wanted, {
      open: () => opened++ && view.again?.(),
      run(fresh) {
        take(fresh);
        // A browser does not dispatch an `end` that has no data, and the stream would be tried again.
        if (ended(fresh)) ending = setTimeout(end, END_MS);
      },
      lines: ({ lines }) => view.lines?.(lines),
      end,
    });
  }

  function end() {
    clearTimeout(ending);
    stop();
    streamed = null;
    stop = () => {};
    reload();
  }

  function show(next) {
    match = next;
    const [kind, open] = viewOf(match);
    const same = view?.kind === kind && view.path === match.path;
    if (same && view.route) {
      view.route(match.query);
    } else {
      view?.close?.();
      view = Object.assign(open({ run, match, reload }), { kind, path: match.path });
      main.replaceChildren(view.node);
    }
    draw();
    listen();
    if (document.activeElement === document.body && status) focusHeading(main);
  }

  async function first() {
    try {
      run = await get(address, abort.signal);
      known = signs(run);
    } catch (problem) {
      if (abort.signal.aborted) return;
      const again = () => (place.replaceChildren(loading()), first());
      place.replaceChildren(failure(problem, problem.status === 404 ? null : again));
      return;
    }
    node.querySelector("h1").replaceWith(...runTitle(run));
    head = runHead(run, (fresh) => {
      if (fresh.id !== run.id) return navigate(`/ui${runPath(fresh)}`); // it goes on as another
      take(fresh);
      listen();
      reload();
    });
    place.replaceChildren(
      head.node,
      h("nav", { class: "tabs", "aria-label": "Of this run" }, tabs),
      main,
    );
    show(match);
  }

  first();
  const ticking = setInterval(() => run && !ended(run) && draw(), 1000);
  return {
    title: id,
    node,
    route: (next) => (run ? show(next) : (match = next)),
    close() {
      abort.abort();
      clearTimeout(ending);
      stop();
      draw.stop();
      look.stop();
      view?.close?.();
      clearInterval(ticking);
    },
  };
}

function viewOf({ rest }) {
  const [what, , below, index] = rest;
  if (what === "logs") return ["logs", logsView];
  if (what === "result") return ["result", resultView];
  if (what === "stages" && below === "items")
    return index === undefined ? ["items", itemsView] : ["item", itemView];
  return ["overview", overview];
}

function tabsOf(run, { rest }) {
  const base = `/ui${runPath(run)}`;
  const current = rest[0] ?? "";
  const stage = maps(run).at(-1) ?? run.stages.at(-1);
  return [
    { text: "Overview", href: base, current: current === "" },
    stage && {
      text: "Items",
      href: `${base}/stages/${stage.position}/items`,
      current: current === "stages",
    },
    { text: "Logs", href: `${base}/logs`, current: current === "logs" },
    { text: "Result", href: `${base}/result`, current: current === "result" },
  ].filter(Boolean);
}

function tab({ text }) {
  const link = h("a", null, text);
  return {
    node: h("li", null, link),
    update({ href, current }) {
      setAttribute(link, "href", href);
      setAttribute(link, "aria-current", current ? "page" : null);
    },
  };
}
