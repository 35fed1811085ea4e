/** A Markdown text that the server has rendered: only its plain elements are taken over. */

import { h } from "../dom.js";

const TAGS = new Set(
  "p h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong hr br table thead tbody tr th td a".split(
    " ",
  ),
);
const LINK = /^(https?|mailto):/i;
const HEADING = /^h([1-6])$/;
const DEEPEST = 6;

/** Elements made of the HTML of a Markdown text; headings begin two levels below the page's. */
export function markdown(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html"); // runs and loads nothing
  return h("div", { class: "markdown" }, children(parsed.body));
}

function children(node) {
  return [...node.childNodes].map(rebuilt).filter((child) => child !== null);
}

function rebuilt(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent;
  if (node.nodeType !== Node.ELEMENT_NODE) return null;
  const tag = node.localName;
  if (tag === "img") return node.getAttribute("alt");
  if (!TAGS.has(tag)) return null;
  const level = HEADING.exec(tag);
  const name = level ? `h${Math.min(DEEPEST, Number(level[1]) + 2)}` : tag;
  const properties = {};
  if (tag === "a") {
    const href = node.getAttribute("href") ?? "";
    if (LINK.test(href)) Object.assign(properties, { href, target: "_blank", rel: "noreferrer" });
  }
  if (node.getAttribute("align") === "right") properties.class = "number";
  if (tag === "ol") properties.start = node.getAttribute("start");
  const made = h(name, properties);
  made.append(...children(node));
  return made;
}
