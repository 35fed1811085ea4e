import { get, path, post } from "../api.js";
import { announce, h } from "../dom.js";
import { navigate } from "../router.js";
import { count, setExactly, when } from "../time.js";
import { fetched } from "./states.js";

const OVERLAPS = {
  skip: "a time is skipped while an earlier run has not ended",
  queue: "a run begins when the earlier ones have ended",
  allow: "runs may overlap",
};

/** When a flow runs next, the outcomes of earlier times, and a button that pauses it. */
export function schedule(flow, given) {
  const node = h("div", { class: "schedule" });
  const wrong = h("p", { class: "problem", role: "alert" });
  const button = h("button", {
    type: "button",
    async onclick() {
      button.disabled = true;
      wrong.textContent = "";
      try {
        given = await post(path("flows", flow, "schedule"), { paused: !given.paused });
        announce(given.paused ? "Schedule paused" : "Schedule unpaused");
        draw();
      } catch (problem) {
        wrong.textContent = problem.message;
      } finally {
        button.disabled = false;
        button.focus();
      }
    },
  });
  const now = h(
    "button",
    {
      type: "button",
      async onclick() {
        now.disabled = true;
        wrong.textContent = "";
        try {
          navigate(`/ui${path("runs", (await post(path("flows", flow, "runs"), {})).id)}`);
        } catch (problem) {
          wrong.textContent = problem.message;
        } finally {
          now.disabled = false;
        }
      },
    },
    "Run now",
    h("span", { class: "unseen" }, ` the flow ${flow} with its default parameters`),
  );
  const past = history(flow);
  const draw = () => {
    button.replaceChildren(
      given.paused ? "Unpause" : "Pause",
      h("span", { class: "unseen" }, ` the schedule of ${flow}`),
    );
    node.replaceChildren(
      h(
        "p",
        null,
        h("code", null, given.expression),
        ` ${given.timezone}`,
        given.paused ? h("strong", { class: "paused" }, " paused") : "",
      ),
      h(
        "dl",
        { class: "facts" },
        fact(
          "Next",
          given.paused ? "nothing while it is paused" : list(given.next.map((at) => setExactly(h("time"), at))),
          "none",
        ),
        fact(
          "Last",
          given.last && linked(given.last),
          "not run yet",
        ),
        fact("Overlap", OVERLAPS[given.overlap]),
        given.missed
          ? fact("Missed", [`${count(given.missed)}, the last `, when(given.missed_last)])
          : "",
        given.error ? fact("Wrong", given.error) : "",
      ),
      past,
      h("div", { class: "buttons" }, now, button),
      wrong,
    );
  };
  draw();
  return node;
}

/** The outcomes of the latest times, loaded whenever it is opened. */
function history(flow) {
  const place = h("div");
  let stop = () => {};
  const node = h(
    "details",
    {
      ontoggle() {
        stop();
        const load = (signal) => get(`${path("schedules", flow)}?n=20`, signal);
        if (node.open) stop = fetched(place, load, ({ ticks }) => list(ticks.map(outcome)) ?? "none");
      },
    },
    h("summary", null, "History", h("span", { class: "unseen" }, ` of the schedule of ${flow}`)),
    place,
  );
  return node;
}

function outcome(ticks) {
  const link = ticks.run && linked(ticks.run);
  const many = ticks.count > 1 ? `${count(ticks.count)} times ` : "";
  const ends = {
    started: ["started ", link],
    skipped: ["skipped: ", link, " had not ended"],
    missed: [`missed: ${ticks.reason ?? "no server was running"}`],
    paused: ["paused"],
  }[ticks.outcome];
  return [when(ticks.last), " ", many, ends];
}

const linked = (run) => h("a", { class: "id", href: `/ui${path("runs", run)}` }, run);
const list = (times) =>
  times.length
    ? h(
        "ul",
        { class: "times" },
        times.map((each) => h("li", null, each)),
      )
    : null;
const fact = (name, value, none) =>
  h("div", null, h("dt", null, name), h("dd", null, value ?? none));
