import { get, path, post, runPath, withQuery, written } from "../api.js";
import { watchAws } from "../components/aws.js";
import { parameterForm } from "../components/form.js";
import { graph } from "../components/graph.js";
import { recentRuns } from "../components/recent.js";
import { runsTable } from "../components/runs.js";
import { schedule } from "../components/schedule.js";
import { empty, fetched } from "../components/states.js";
import { trend } from "../components/trend.js";
import { h } from "../dom.js";
import { follow } from "../events.js";
import { navigate } from "../router.js";

const LAST = 10;

/** A flow with a form that starts it; `?from=RUN` fills that in with the run's parameters. */
export default function flowPage({ params: { name }, query }) {
  const place = h("div", { class: "stack" });
  const load = async (signal) => {
    const from = query.get("from");
    const [flow, run] = await Promise.all([
      get(path("flows", name), signal),
      from
        ? get(runPath({ id: from, flow: name, where: query.get("on") ?? "local" }), signal)
        : null,
    ]);
    return { flow, run };
  };
  const last = h("div");
  const runs = recentRuns(name, LAST, last, {
    draw: () => runsTable({ flows: false }),
    none: () => empty("No runs yet"),
  });
  const past = trend(name);
  const take = (changed) => (runs.take(changed), past.take(changed));
  const stops = [
    fetched(place, load, ({ flow, run }) => draw(flow, run, last, past.node)),
    runs.close,
    past.close,
    follow("/events", { runs: ({ runs: changed }) => take(changed) }),
    watchAws(
      () => ({ flow: name }),
      LAST,
      ({ runs: found }) => runs.take(found),
    ).close,
  ];
  return {
    title: name,
    node: h(
      "div",
      { class: "page" },
      h("p", { class: "crumbs" }, h("a", { href: "/ui/flows" }, "Flows")),
      h("h1", null, name),
      place,
    ),
    close: () => stops.forEach((stop) => stop()),
  };
}

function draw(flow, run, last, past) {
  const all = h(
    "p",
    null,
    h("a", { href: withQuery("/ui/runs", { flow: flow.name }) }, "All its runs"),
  );
  return [
    flow.doc && h("p", { class: "doc" }, flow.doc),
    flow.stages && graphOf(flow.stages),
    h("p", { class: "quiet" }, h("code", null, flow.file)),
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { class: "card", "aria-labelledby": "start" },
        h("h2", { id: "start" }, "Start a run"),
        startForm(flow, run),
      ),
      h(
        "div",
        null,
        flow.schedule &&
          h(
            "section",
            { class: "card", "aria-labelledby": "schedule" },
            h("h2", { id: "schedule" }, "Schedule"),
            schedule(flow.name, flow.schedule),
          ),
        h(
          "section",
          { class: "card", "aria-labelledby": "trend" },
          h("h2", { id: "trend" }, "Trend"),
          past,
        ),
        h(
          "section",
          { class: "card", "aria-labelledby": "last" },
          h("h2", { id: "last" }, "Last runs"),
          last,
          all,
        ),
      ),
    ),
  ].filter(Boolean);
}

function graphOf(stages) {
  const drawing = graph();
  drawing.update(stages);
  return drawing.node;
}

function startForm(flow, run) {
  const fields = parameterForm(flow.parameters, run?.params);
  const wrong = h("div", { class: "problem", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Start");
  const onAws = h("button", { type: "submit", value: "aws", hidden: true }, "Start on AWS");
  get("/aws/flows")
    .then(({ flows }) => (onAws.hidden = !flows.includes(flow.name)))
    .catch(() => {});
  let asked = { text: null };
  const submit = async (event) => {
    event.preventDefault();
    wrong.replaceChildren();
    const params = fields.read();
    if (!params) return;
    // Sent again after a lost answer, the same request must not start a second run.
    const text = written(params);
    if (asked.text !== text) asked = { text, key: randomKey() };
    button.disabled = onAws.disabled = true;
    try {
      const started = await post(
        event.submitter === onAws
          ? path("aws", "flows", flow.name, "executions")
          : path("flows", flow.name, "runs"),
        { params },
        { "Idempotency-Key": asked.key },
      );
      navigate(`/ui${runPath(started)}`);
    } catch (problem) {
      const rest = fields.show(problem.errors ?? []);
      if (problem.errors?.length && !rest.length) return;
      wrong.append(
        h("p", null, problem.message),
        ...rest.map(({ name, message }) => h("p", null, `${name}: ${message}`)),
      );
    } finally {
      button.disabled = onAws.disabled = false;
    }
  };
  const none = !Object.keys(flow.parameters.properties ?? {}).length;
  return h(
    "form",
    { class: "sheet", onsubmit: submit, novalidate: true },
    run &&
      h(
        "p",
        { class: "quiet" },
        "With the parameters of ",
        h("a", { href: `/ui${runPath(run)}` }, run.id),
        ".",
      ),
    none ? h("p", { class: "quiet" }, "It takes no parameters.") : fields.node,
    flow.secrets.length > 0 &&
      h("p", { class: "note" }, `From the server's environment: ${flow.secrets.join(", ")}.`),
    wrong,
    h("div", { class: "buttons" }, button, onAws),
  );
}

/** `crypto.randomUUID` is missing on pages loaded by plain HTTP from another machine. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join(
    "",
  );
}
