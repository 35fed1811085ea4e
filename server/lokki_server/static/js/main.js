import { onUnauthorized } from "./api.js";
import { showConnection } from "./components/banner.js";
import { schemeButton } from "./components/scheme.js";
import { h } from "./dom.js";
import { listenForKeys, showKeys } from "./keys.js";
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

/** A page whose modules are loaded when it is first opened. */
const page = (file) => async () => (await import(`./pages/${file}.js`)).default;

route("/ui/runs", page("runs"));
route("/ui/runs/:id/*", page("run"));
route("/ui/aws/flows/:flow/executions/:id/*", page("run"));
route("/ui/compare", page("compare"));
route("/ui/flows", page("flows"));
route("/ui/flows/:name", page("flow"));
route("/ui/schedules", page("schedules"));
route("/ui/login", page("login"));
if (["/", "/ui", "/ui/"].includes(location.pathname)) history.replaceState(null, "", "/ui/runs");
start(byId("main"));

session.then(({ name, version }) => name && byId("foot").append(`${name} · version ${version}`));
