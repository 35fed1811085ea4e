import { path, post } from "../api.js";
import { announce, h } from "../dom.js";
import { count, when } from "../time.js";

/** When a flow runs next, and a button that pauses it. */
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
          given.paused ? "nothing while it is paused" : list(given.next.slice(0, 5)),
          "none",
        ),
        fact(
          "Last",
          given.last && h("a", { class: "id", href: `/ui${path("runs", given.last)}` }, given.last),
          "not run yet",
        ),
        given.missed
          ? fact("Missed", [`${count(given.missed)}, the last `, when(given.missed_last)])
          : "",
        given.error ? fact("Wrong", given.error) : "",
      ),
      button,
      wrong,
    );
  };
  draw();
  return node;
}

const list = (times) =>
  times.length
    ? h(
        "ul",
        { class: "times" },
        times.map((at) => h("li", null, when(at))),
      )
    : null;
const fact = (name, value, none) =>
  h("div", null, h("dt", null, name), h("dd", null, value ?? none));
