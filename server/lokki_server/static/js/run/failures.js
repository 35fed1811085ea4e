/** The failure groups of a run. */

import { get, runPath, withQuery } from "../api.js";
import { code } from "../components/value.js";
import { codeLine, frames } from "../editor.js";
import { failure, loading } from "../components/states.js";
import { announce, h, keyed, setAttribute, setText } from "../dom.js";
import { icon } from "../icons.js";
import { canResume, ended } from "../model.js";
import { navigate } from "../router.js";
import { count } from "../time.js";
import { askGroup } from "./actions.js";

const FIRST = 8;

export function failures(reload) {
  const list = h("ul", { class: "groups" });
  const kinds = h("span", { class: "quiet" });
  let most = FIRST;
  let known = null;
  const rest = h("button", {
    type: "button",
    class: "groups-all",
    onclick: () => ((most = Infinity), update(known)),
  });
  const node = h(
    "section",
    { class: "card", "aria-labelledby": "failures", hidden: true },
    h("div", { class: "card-head" }, h("h2", { id: "failures" }, "Failures"), kinds),
    list,
    rest,
  );
  function update(run) {
    known = run;
    const all = run.stages.flatMap((stage) =>
      (stage.failures ?? []).map((group) => ({ run, stage, group })),
    );
    all.sort(
      (one, two) => !!two.group.failed - !!one.group.failed || two.group.count - one.group.count,
    );
    setAttribute(node, "hidden", all.length ? null : "");
    const shown = all.slice(0, most);
    setAttribute(rest, "hidden", shown.length < all.length ? null : "");
    setText(rest, `Show all ${count(all.length)} groups`);
    setText(kinds, `${count(all.length)} ${all.length === 1 ? "kind" : "kinds"}`);
    keyed(
      list,
      shown,
      ({ stage, group }) => `${stage.position} ${group.id}`,
      (each) => groupRow(each, reload),
    );
  }
  return { node, update };
}

function groupRow(first, reload) {
  let { run, group } = first;
  const { stage } = first;
  const kind = group.failed ? "failed" : group.tolerated ? "tolerated" : "retrying";
  const base = `/ui${runPath(run, "stages", stage.position, "items")}`;
  const number = h("strong");
  const status = h("span", { class: "group-kind" });
  const message = h("span", { class: "group-message" });
  const items = h("span");
  const trace = h("div");
  const details = h(
    "details",
    { ontoggle: () => details.open && show() },
    h("summary", null, "Traceback"),
    trace,
  );
  const again = h(
    "button",
    {
      type: "button",
      onclick: () =>
        askGroup(run, group, (fresh) => {
          announce("They run again");
          if (fresh.id !== run.id) return navigate(`/ui${runPath(fresh)}`);
          reload();
        }),
    },
    "Re-run these",
  );
  const { place } = group;

  /** Streamed groups have no traceback. */
  async function show() {
    if (trace.firstChild?.tagName === "PRE") return;
    trace.replaceChildren(loading());
    try {
      const whole = group.traceback ? run : await get(runPath(run));
      const own = whole.stages
        .flatMap((each) => each.failures ?? [])
        .find(({ id }) => id === group.id);
      trace.replaceChildren(
        code(frames(run, own?.traceback ?? "There is none."), `Traceback of ${group.type}`),
      );
    } catch (problem) {
      trace.replaceChildren(failure(problem, show));
    }
  }

  const node = h(
    "li",
    { "data-status": kind },
    h("div", { class: "group-count" }, icon(kind), number),
    h(
      "div",
      { class: "group-text" },
      h("p", null, h("strong", { class: "group-type" }, group.type), " ", message),
      h(
        "p",
        { class: "quiet" },
        status,
        ` in ${group.step}`,
        place && [
          " at ",
          codeLine(run, place.file, place.line, h("code", null, `${place.file}:${place.line}`)),
          ` ${place.function}`,
        ],
      ),
      h("div", { class: "group-more" }, stage.kind === "map" && items, details),
    ),
    h("div", { class: "group-act" }, again),
  );
  let linked = null;
  return {
    node,
    update(fresh) {
      ({ run, group } = fresh);
      setText(number, count(group.count));
      setText(message, group.message);
      setText(status, words(group, ended(run)));
      const known = group.items.join();
      if (known !== linked) items.replaceChildren(...links(base, group));
      linked = known;
      setAttribute(again, "hidden", canResume(run) ? null : "");
    },
  };
}

function words({ failed, retrying, count: all }, over) {
  const tolerated = all - failed - (retrying ?? 0);
  const parts = [
    failed && `${count(failed)} failed`,
    tolerated > 0 && `${count(tolerated)} tolerated`,
    retrying && `${count(retrying)} ${over ? "not tried again" : "retrying"}`,
  ];
  return parts.filter(Boolean).join(", ");
}

function links(base, group) {
  const first = group.items.flatMap((index) => [
    " ",
    h("a", { href: `${base}/${index}` }, `#${index}`),
  ]);
  return [
    ...first.slice(1),
    " · ",
    h("a", { href: withQuery(base, { error: group.id }) }, "all of these"),
  ];
}
