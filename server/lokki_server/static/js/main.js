import { onUnauthorized } from "./api.js";
import { showConnection } from "./components/banner.js";
import { schemeButton } from "./components/scheme.js";
import { h } from "./dom.js";
import { listenForKeys, showKeys } from "./keys.js";
import { comparePage } from "./pages/compare.js";
import { flowPage } from "./pages/flow.js";
import { flowsPage } from "./pages/flows.js";
import { loginPage } from "./pages/login.js";
import { runPage } from "./pages/run.js";
import { runsPage } from "./pages/runs.js";
import { schedulesPage } from "./pages/schedules.js";
import { navigate, route, start } from "./router.js";
import { session } from "./session.js";

const byId = (id) => document.getElementById(id);

for (const [href, text] of [
  ["/ui/runs", "Runs"],
  ["/ui/flows", "Flows"],
  ["/ui/schedules", "Schedules"],
]) {
  byId("nav").append(h("a", { href }, text));
}
byId("tools").append(
  schemeButton(),
  h("button", { type: "button", class: "plain", title: "Keyboard: ?", "aria-label": "Keyboard", onclick: showKeys }, "?"),
);
listenForKeys();
showConnection(byId("banner"), byId("connection"), byId("main"));
onUnauthorized(() => {
  if (location.pathname === "/ui/login") return;
  const to = encodeURIComponent(location.pathname + location.search);
  navigate(`/ui/login?to=${to}`, { replace: true });
});

route("/ui/runs", runsPage);
route("/ui/runs/:id/*", runPage);
route("/ui/aws/flows/:flow/executions/:id/*", runPage);
route("/ui/compare", comparePage);
route("/ui/flows", flowsPage);
route("/ui/flows/:name", flowPage);
route("/ui/schedules", schedulesPage);
route("/ui/login", loginPage);
if (["/", "/ui", "/ui/"].includes(location.pathname)) history.replaceState(null, "", "/ui/runs");
start(byId("main"));

session.then(({ name, version }) => name && byId("foot").append(`${name} · version ${version}`));
