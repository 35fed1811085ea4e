/** Lines of code that open in the reader's editor, where the server has one configured. */

import { h } from "./dom.js";
import { session } from "./session.js";

const FRAME = /(File ")([^"\n]+)(", line )(\d+)/g;

/** A node that becomes a link if the file is of this machine, not of an execution on AWS. */
export function codeLine({ where }, file, line, node) {
  if (where === "local" && /^(\/|[A-Za-z]:[\\/])/.test(file)) {
    session.then(({ editor }) => {
      if (editor) node.replaceWith(h("a", { href: addressOf(editor, file, line), title: "Open in the editor" }, node.cloneNode(true)));
    });
  }
  return node;
}

/** The text of a traceback, with a link for each frame. */
export function frames(run, text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(FRAME)) {
    const [whole, , file, , line] = found;
    parts.push(text.slice(at, found.index), codeLine(run, file, line, h("span", null, whole)));
    at = found.index + whole.length;
  }
  return [...parts, text.slice(at)];
}

function addressOf(template, file, line) {
  const path = file.replaceAll("\\", "/").split("/").map(encodeURIComponent).join("/");
  return template.replaceAll("{file}", path.startsWith("/") ? path : `/${path}`).replaceAll("{line}", line);
}
