/** Making and changing elements. Text is always set as text: nothing here parses HTML. */

const SVG = "http://www.w3.org/2000/svg";
const kept = new WeakMap();

/** An element; `on…` properties are listeners, others attributes; null and false leave one out. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(
    ...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return node;
}

/** Set a text if it differs, so that a selection of unchanged text is left alone. */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/**
 * Make the children of `parent` those of `items`, in order. `create(item)` gives {node, update?};
 * nodes of items that stay are kept, with their focus and what is open in them.
 */
export function keyed(parent, items, keyOf, create) {
  const before = kept.get(parent) ?? new Map();
  const keys = new Set(items.map(keyOf));
  for (const [key, part] of before) if (!keys.has(key)) part.node.remove();
  const after = new Map();
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const part = before.get(key) ?? create(item);
    after.set(key, part);
    part.update?.(item);
    if (part.node === at) at = at.nextElementSibling;
    else parent.insertBefore(part.node, at);
  }
  kept.set(parent, after);
}

/** `run` at once, then at most every `wait` ms, the last call included. */
export function throttle(run, wait) {
  let timer = null;
  let again = false;
  const call = () => {
    if (timer !== null) {
      again = true;
      return;
    }
    run();
    timer = setTimeout(() => {
      timer = null;
      if (again) {
        again = false;
        call();
      }
    }, wait);
  };
  call.stop = () => {
    clearTimeout(timer);
    again = false;
  };
  return call;
}

export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
