import { get, path } from "../api.js";
import { schedule } from "../components/schedule.js";
import { empty, fetched } from "../components/states.js";
import { h } from "../dom.js";

export default function schedulesPage() {
  const place = h("div");
  const stop = fetched(place, (signal) => get("/flows", signal), draw);
  return {
    title: "Schedules",
    node: h("div", { class: "page" }, h("h1", null, "Schedules"), place),
    close: stop,
  };
}

function draw({ flows }) {
  const scheduled = flows.filter((flow) => flow.schedule);
  if (!scheduled.length) return empty("No flow has a schedule");
  return h(
    "ul",
    { class: "cards" },
    scheduled.map((flow) =>
      h(
        "li",
        { class: "card" },
        h("h2", null, h("a", { href: `/ui${path("flows", flow.name)}` }, flow.name)),
        schedule(flow.name, flow.schedule),
      ),
    ),
  );
}
