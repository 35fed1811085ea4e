/** A form made from the JSON Schema of a flow's parameters. */

import { parsed, written } from "../api.js";
import { h, setAttribute } from "../dom.js";

const NUMBERS = ["integer", "number"];

/**
 * `values` are shown in place of defaults. `read()` returns the parameters that differ from their
 * defaults, or null if one is invalid, and shows why beside it. `show(errors)` shows the errors of
 * the server and returns those that belong to no field.
 */
export function parameterForm(schema, values = {}) {
  const required = schema.required ?? [];
  const fields = Object.entries(schema.properties ?? {}).map(([name, given]) =>
    field(name, simplified(given, schema), required.includes(name), values[name]),
  );
  const focusFirst = () => fields.find((each) => each.wrong())?.focus();
  return {
    node: h(
      "div",
      { class: "fields" },
      fields.map((each) => each.node),
    ),
    read() {
      const params = {};
      for (const each of fields) {
        each.show("");
        try {
          const value = each.read();
          if (value !== undefined) params[each.name] = value;
        } catch (error) {
          each.show(error.message);
        }
      }
      focusFirst();
      return fields.some((each) => each.wrong()) ? null : params;
    },
    show(errors) {
      const rest = errors.filter(({ name, message }) => {
        const own = fields.find((each) => each.name === name);
        own?.show(message);
        return !own;
      });
      focusFirst();
      return rest;
    },
  };
}

/** A property without references and with `nullable` in place of a choice with null. */
function simplified(given, schema) {
  if (given.$ref) {
    const found = schema.$defs?.[given.$ref.split("/").at(-1)] ?? {};
    return simplified({ ...found, ...given, $ref: undefined }, schema);
  }
  const choices = given.anyOf ?? given.oneOf ?? given.allOf;
  if (!choices) return given;
  const some = choices.filter((each) => each.type !== "null");
  const nullable = some.length < choices.length;
  if (some.length !== 1) return { ...given, nullable, type: undefined };
  return { ...simplified(some[0], schema), ...given, anyOf: undefined, allOf: undefined, nullable };
}

function field(name, property, required, given) {
  const id = `parameter-${name}`;
  const fallback = property.default;
  const value = given === undefined ? fallback : given;
  const control = controlOf(id, property, value);
  const wrong = h("p", { class: "problem", id: `${id}-wrong`, "aria-live": "polite" });
  const note = [property.description, hintOf(property, control.kind)].filter(Boolean).join(" ");
  const input = control.input;
  setAttribute(input, "aria-describedby", `${id}-note ${id}-wrong`);
  if (required && control.kind !== "checkbox") setAttribute(input, "aria-required", "true");
  const none = property.nullable && control.kind === "text" ? noneBox(input, value) : null;
  const label = h(
    "label",
    { for: id },
    name,
    required ? h("span", { class: "needed" }, "needed") : null,
  );
  const node = h(
    "div",
    { class: "field", "data-kind": control.kind },
    control.kind === "checkbox" ? [input, label] : [label, input],
    none?.node,
    h("p", { class: "note", id: `${id}-note` }, note),
    wrong,
  );
  return {
    name,
    node,
    wrong: () => wrong.textContent !== "",
    focus: () => input.focus(),
    show(message) {
      wrong.textContent = message;
      setAttribute(input, "aria-invalid", message ? "true" : null);
    },
    read() {
      const read = none?.checked() ? null : control.read(required);
      if (read === undefined && required) throw new Error("a value is needed");
      const same = written(read) === written(fallback);
      return !required && same ? undefined : read;
    },
  };
}

function noneBox(input, value) {
  const box = h("input", { type: "checkbox", checked: value === null });
  const apply = () => (input.disabled = box.checked);
  box.addEventListener("change", apply);
  apply();
  return { node: h("label", { class: "none" }, box, "none"), checked: () => box.checked };
}

function hintOf({ type, format, minimum, maximum, nullable }, kind) {
  const range = [
    minimum === undefined ? "" : `at least ${minimum}`,
    maximum === undefined ? "" : `at most ${maximum}`,
  ];
  const what = {
    number: { integer: "A whole number", number: "A number" }[type],
    json: { array: "A JSON list", object: "A JSON object" }[type] ?? "JSON",
    text: { duration: "A duration, like PT90S" }[format],
  }[kind];
  const parts = [what, ...range, nullable && kind === "number" ? "or empty for none" : ""];
  const hint = parts.filter(Boolean).join(", ");
  return hint && `${hint[0].toUpperCase()}${hint.slice(1)}.`;
}

function controlOf(id, property, value) {
  const { type, format, nullable } = property;
  const options = property.enum ?? (property.const === undefined ? null : [property.const]);
  if (options || (type === "boolean" && nullable)) {
    return select(id, options ?? [true, false], nullable, value);
  }
  if (type === "boolean") {
    const input = h("input", { id, type: "checkbox", checked: value === true });
    return { kind: "checkbox", input, read: () => input.checked };
  }
  if (NUMBERS.includes(type)) return number(id, type, nullable, value);
  if (type === "string") return text(id, format, value);
  return jsonText(id, value);
}

function select(id, options, nullable, value) {
  const known = options.findIndex((each) => written(each) === written(value));
  const input = h(
    "select",
    { id },
    known < 0 && !(nullable && value === null) ? h("option", { value: "" }, "choose…") : null,
    options.map((each, index) =>
      h(
        "option",
        { value: index, selected: index === known },
        typeof each === "boolean" ? (each ? "yes" : "no") : String(each),
      ),
    ),
    nullable ? h("option", { value: "null", selected: value === null }, "none") : null,
  );
  const read = () => {
    if (input.value === "") return undefined;
    return input.value === "null" ? null : options[Number(input.value)];
  };
  return { kind: "select", input, read };
}

function number(id, type, nullable, value) {
  const shown = value === null || value === undefined ? "" : String(value);
  const input = h("input", {
    id,
    inputmode: type === "integer" ? "numeric" : "decimal",
    value: shown,
    autocomplete: "off",
  });
  const read = () => {
    const text = input.value.trim();
    if (!text) return nullable ? null : undefined;
    const read = Number(text);
    if (!Number.isFinite(read)) throw new Error("a number is needed");
    if (type === "integer" && !Number.isInteger(read)) throw new Error("a whole number is needed");
    return type === "integer" && !Number.isSafeInteger(read) ? BigInt(text) : read;
  };
  return { kind: "number", input, read };
}

function text(id, format, value) {
  const shown = typeof value === "string" ? value : "";
  const kinds = { date: "date", time: "time", "date-time": "datetime-local", uri: "url" };
  const input = h("input", {
    id,
    type: kinds[format] ?? "text",
    step: "any",
    value: shown,
    autocomplete: "off",
  });
  // A time with a zone is no value of such an input.
  if (shown && input.value !== shown) input.type = "text";
  input.value = shown;
  const read = (required) => ((format || required) && !input.value ? undefined : input.value);
  return { kind: "text", input, read };
}

function jsonText(id, value) {
  const shown = value === undefined ? "" : written(value, 1).replace(/\n\s*/g, " ");
  const input = h("textarea", {
    id,
    rows: shown.length > 60 ? 5 : 2,
    spellcheck: "false",
    value: shown,
  });
  const read = () => {
    if (!input.value.trim()) return undefined;
    try {
      return parsed(input.value);
    } catch (error) {
      throw new Error(`not JSON: ${error.message}`);
    }
  };
  return { kind: "json", input, read };
}
