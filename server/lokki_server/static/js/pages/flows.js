import { get, path, runPath } from "../api.js";
import { chain } from "../components/chain.js";
import { recentRuns } from "../components/recent.js";
import { empty, fetched } from "../components/states.js";
import { mark } from "../components/status.js";
import { code } from "../components/value.js";
import { h, keyed, setText } from "../dom.js";
import { follow } from "../events.js";
import { shownStatus, stageText, took } from "../model.js";
import { duration, setWhen, when } from "../time.js";

const LAST = 8;

export default function flowsPage() {
  const place = h("div");
  let recent = [];
  const stops = [
    fetched(
      place,
      (signal) => get("/flows", signal),
      (found) => {
        recent = [];
        return draw(found, recent);
      },
    ),
    follow("/events", { runs: ({ runs }) => recent.forEach((each) => each.take(runs)) }),
  ];
  return {
    title: "Flows",
    node: h("div", { class: "page" }, h("h1", null, "Flows"), place),
    close: () => [...stops, ...recent.map((each) => each.close)].forEach((stop) => stop()),
  };
}

function draw({ flows, problems }, recent) {
  const parts = [];
  if (problems.length) {
    parts.push(
      h(
        "section",
        { class: "card problems", "aria-labelledby": "problems" },
        h("h2", { id: "problems" }, "Files that could not be imported"),
        problems.map(({ file, error, traceback }) =>
          h(
            "details",
            null,
            h(
              "summary",
              null,
              h("code", null, file),
              " ",
              h("span", { class: "error-text" }, error),
            ),
            code(traceback, `Traceback of ${file}`),
          ),
        ),
      ),
    );
  }
  if (flows.length)
    parts.push(
      h(
        "ul",
        { class: "cards" },
        flows.map((flow) => card(flow, recent)),
      ),
    );
  else {
    parts.push(
      empty(
        "No flows",
        h(
          "p",
          null,
          "The server found none. Name their files when you start it: ",
          h("code", null, "lokki serve FILE"),
          ".",
        ),
      ),
    );
  }
  return parts;
}

function card(flow, recent) {
  const last = h("div", { class: "last" });
  const none = () => h("p", { class: "quiet" }, "no runs yet");
  recent.push(recentRuns(flow.name, LAST, last, { draw: lastRuns, none }));
  const [about] = (flow.doc ?? "").split("\n");
  return h(
    "li",
    { class: "card flow" },
    h("h2", null, h("a", { href: `/ui${path("flows", flow.name)}` }, flow.name)),
    about && h("p", null, about),
    flow.stages && chain(flow.stages.map(stageText)),
    h("div", { class: "grow" }),
    last,
    h(
      "div",
      { class: "card-foot" },
      h("p", { class: "quiet" }, scheduleText(flow.schedule) ?? h("code", null, flow.file)),
      h(
        "a",
        { class: "button", href: `/ui${path("flows", flow.name)}` },
        "Run",
        h("span", { class: "unseen" }, ` ${flow.name}`),
        "…",
      ),
    ),
  );
}

function scheduleText(schedule) {
  if (!schedule) return null;
  if (schedule.paused) return ["schedule paused"];
  return schedule.next.length ? ["next run ", when(schedule.next[0])] : [schedule.expression];
}

function lastRuns() {
  const marks = h("ol", { class: "marks", "aria-label": "Last runs, newest first" });
  const word = h("span");
  const at = h("time");
  const time = h("span");
  return {
    node: h("div", null, marks, h("p", { class: "quiet" }, word, " ", at, time)),
    update(runs) {
      keyed(
        marks,
        runs,
        (run) => `${run.id} ${shownStatus(run)}`,
        (run) => ({
          node: h(
            "li",
            null,
            h(
              "a",
              { href: `/ui${runPath(run)}` },
              mark(shownStatus(run), `${run.id} ${shownStatus(run)}`),
            ),
          ),
        }),
      );
      const [newest] = runs;
      setText(word, shownStatus(newest));
      setWhen(at, newest.finished ?? newest.started ?? newest.created);
      setText(time, took(newest) === null ? "" : `, ${duration(took(newest))}`);
    },
  };
}
