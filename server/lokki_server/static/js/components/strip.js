/**
 * A map's items in a bounded number of columns, each for neighbouring items. A column is filled by the
 * statuses of its items; below it, a mark whose shape depends on the status shows a problem.
 */

import { h, setAttribute, setText } from "../dom.js";
import { count } from "../time.js";
import { ITEM_STATUSES } from "../model.js";
import { onScheme } from "./scheme.js";

const HEIGHT = 54;
const LANE = 14;
const STACK = ["succeeded", "running", "retrying", "cancelled", "tolerated", "failed"];
const TROUBLES = ["failed", "tolerated", "cancelled", "retrying"];
/** The least height in pixels of one failure among hundreds. */
const LEAST = 4;

/** `open(index)` is called for a column that is chosen, with its first item. */
export function strip(label, open) {
  const canvas = h("canvas", {
    class: "strip",
    tabindex: "0",
    role: "slider",
    "aria-label": `${label}: items in order`,
    "aria-valuemin": 0,
    "aria-valuemax": 0,
    "aria-valuenow": 0,
    "aria-valuetext": "not loaded yet",
  });
  const text = h("p", { class: "strip-text" });
  const node = h("div", { class: "strip-box" }, canvas, text);
  let data = { total: 0, cells: [] };
  let at = null;

  const first = (cell) => Math.floor((cell * data.total) / data.cells.length);
  const words = (cell) => {
    const [from, to] = [first(cell), first(cell + 1) - 1];
    const range = from === to ? `item ${count(from)}` : `items ${count(from)} to ${count(to)}`;
    const counts = ITEM_STATUSES.filter((status) => data.cells[cell][status]).map(
      (status) => `${count(data.cells[cell][status])} ${status}`,
    );
    return `${range}: ${counts.join(", ") || "pending"}`;
  };
  const hint = () => {
    const each = data.total / (data.cells.length || 1);
    return each > 1 ? `A column stands for about ${count(Math.round(each))} items.` : "";
  };
  const choose = (cell) => {
    at = cell === null ? null : Math.max(0, Math.min(data.cells.length - 1, cell));
    setText(text, at === null ? hint() : words(at));
    setAttribute(canvas, "aria-valuenow", at ?? 0);
    setAttribute(canvas, "aria-valuetext", data.cells.length ? words(at ?? 0) : "no items");
    draw();
  };
  const draw = () => paint(canvas, data, at);

  canvas.addEventListener("pointermove", (event) => {
    if (!data.cells.length) return;
    const { left, width } = canvas.getBoundingClientRect();
    choose(Math.floor(((event.clientX - left) / width) * data.cells.length));
  });
  canvas.addEventListener("pointerleave", () => choose(null));
  canvas.addEventListener("blur", () => choose(null));
  canvas.addEventListener("click", () => at !== null && open(first(at)));
  canvas.addEventListener("keydown", (event) => {
    const steps = {
      ArrowRight: 1,
      ArrowUp: 1,
      ArrowLeft: -1,
      ArrowDown: -1,
      PageUp: 10,
      PageDown: -10,
    };
    if (!data.cells.length) return;
    if (event.key in steps) choose(at === null ? 0 : at + steps[event.key]);
    else if (event.key === "Home") choose(0);
    else if (event.key === "End") choose(data.cells.length - 1);
    else if (event.key === "Enter" && at !== null) open(first(at));
    else return;
    event.preventDefault();
  });

  const sizes = new ResizeObserver(draw);
  sizes.observe(canvas);
  const stop = onScheme(draw);
  return {
    node,
    update(fresh) {
      data = fresh;
      setAttribute(canvas, "aria-valuemax", Math.max(0, data.cells.length - 1));
      choose(at !== null && at < data.cells.length ? at : null);
    },
    close() {
      sizes.disconnect();
      stop();
    },
  };
}

function paint(canvas, { total, cells }, chosen) {
  const width = canvas.clientWidth;
  if (!width) return;
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round((HEIGHT + LANE) * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const known = {};
  const colour = (name) => (known[name] ??= resolved(canvas, name));
  const gap = width / cells.length > 3 ? 1 : 0;
  cells.forEach((cell, index) => {
    const left = (index * width) / cells.length;
    const wide = Math.max(0.5, width / cells.length - gap);
    const items = Object.values(cell).reduce((all, each) => all + each, 0);
    const size = Math.max(items, Math.floor(total / cells.length), 1);
    pen.fillStyle = colour("pending-cell");
    pen.fillRect(left, 0, wide, HEIGHT);
    let top = HEIGHT;
    for (const status of STACK) {
      if (!cell[status]) continue;
      const share = (cell[status] / size) * HEIGHT;
      const high = Math.min(top, TROUBLES.includes(status) ? Math.max(LEAST, share) : share);
      top -= high;
      if (status === "failed" || status === "tolerated") top = Math.max(0, top);
      pen.fillStyle = colour(`${status}-cell`);
      pen.fillRect(left, top, wide, high);
    }
    const trouble = TROUBLES.find((status) => cell[status]);
    if (trouble)
      sign(pen, trouble, left + wide / 2, HEIGHT + LANE / 2 + 1, colour(`${trouble}-cell`));
    if (index === chosen) {
      pen.fillStyle = colour("text");
      pen.globalAlpha = 0.25;
      pen.fillRect(left, 0, Math.max(wide, 2), HEIGHT);
      pen.globalAlpha = 1;
    }
  });
}

/** A colour as a canvas takes it, which knows nothing of light-dark(). */
function resolved(canvas, name) {
  canvas.style.color = `var(--${name})`;
  return getComputedStyle(canvas).color;
}

/** A cross, a triangle, a ring or a dot, narrow enough for neighbours. */
function sign(pen, status, x, y, colour) {
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  if (status === "failed") {
    pen.moveTo(x - 3, y - 3);
    pen.lineTo(x + 3, y + 3);
    pen.moveTo(x + 3, y - 3);
    pen.lineTo(x - 3, y + 3);
    pen.stroke();
  } else if (status === "tolerated") {
    pen.moveTo(x, y - 3);
    pen.lineTo(x + 3, y + 3);
    pen.lineTo(x - 3, y + 3);
    pen.fill();
  } else if (status === "cancelled") {
    pen.arc(x, y, 2.5, 0, 7);
    pen.stroke();
  } else {
    pen.arc(x, y, 2, 0, 7);
    pen.fill();
  }
}
