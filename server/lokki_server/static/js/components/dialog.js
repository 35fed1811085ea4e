import { h } from "../dom.js";

let made = 0;

/**
 * Ask for confirmation of `act()`. The dialog stays open while it works, and shows a problem that it
 * ends with. `content` is between the title and the buttons.
 */
export function confirm({ title, content, verb, danger = false, act }) {
  const id = `dialog-${++made}`;
  const problem = h("p", { class: "problem", role: "alert" });
  const yes = h("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
  const dialog = open(
    id,
    h(
      "form",
      {
        async onsubmit(event) {
          event.preventDefault();
          yes.disabled = true;
          problem.textContent = "";
          try {
            await act();
            dialog.close();
          } catch (error) {
            problem.textContent = error.message;
            yes.disabled = false;
          }
        },
      },
      h("h2", { id }, title),
      content,
      problem,
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Back"),
        yes,
      ),
    ),
  );
}

/** Show something until it is closed. */
export function notice(title, content) {
  const id = `dialog-${++made}`;
  const close = h("button", { type: "submit" }, "Close");
  open(id, h("form", { method: "dialog" }, h("h2", { id }, title), content, h("div", { class: "buttons" }, close)));
}

function open(id, form) {
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => dialog.remove() }, form);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

let names = 0;

/** A choice of one of `options`, [value, label, note?]; `value()` gives it. */
export function choice(legend, options) {
  const name = `choice-${++names}`;
  const inputs = options.map(([value], index) =>
    h("input", { type: "radio", name, value, checked: index === 0 }),
  );
  const node = h(
    "fieldset",
    { class: "choice" },
    h("legend", null, legend),
    options.map(([, label, note], index) =>
      h("label", null, inputs[index], h("span", null, label, note && h("small", null, note))),
    ),
  );
  return { node, value: () => inputs.find((input) => input.checked).value };
}
