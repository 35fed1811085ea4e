import { post } from "../api.js";
import { h, setAttribute } from "../dom.js";
import { navigate } from "../router.js";

export default function loginPage({ query }) {
  const input = h("input", {
    id: "token",
    type: "password",
    autocomplete: "current-password",
    required: true,
    "aria-describedby": "token-note token-wrong",
  });
  const wrong = h("p", { class: "problem", id: "token-wrong", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Log in");
  const to = query.get("to") ?? "";
  const login = async (event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.textContent = "";
    try {
      await post("/login", { token: input.value.trim() });
      navigate(/^\/ui\//.test(to) ? to : "/ui/runs", { replace: true });
    } catch (problem) {
      wrong.textContent =
        problem.status === 401 ? "This is not the server's token." : problem.message;
      setAttribute(input, "aria-invalid", "true");
      input.focus();
    } finally {
      button.disabled = false;
    }
  };
  const node = h(
    "div",
    { class: "page login" },
    h("h1", null, "Log in"),
    h(
      "form",
      { class: "card sheet", onsubmit: login },
      h(
        "div",
        { class: "field" },
        h("label", { for: "token" }, "Token"),
        input,
        h("p", { class: "note", id: "token-note" }, "The token that the server was started with."),
        wrong,
      ),
      button,
    ),
  );
  return { title: "Log in", node };
}
