/** The search of the list of runs: words for the server's `tag`, `param` and `search`. */

import { get, path, runPath } from "../api.js";
import { h } from "../dom.js";
import { navigate } from "../router.js";

const RUN_ID = /^\d{8}-\d{4}[\w-]*$/;

/** What is searched for: `tag:nightly` is a tag, `limit=5` a parameter, the rest one text. */
export function parsedSearch(text) {
  const found = { tag: [], param: [], search: "" };
  const rest = [];
  for (const [word] of text.matchAll(/(?:[^\s"]|"[^"]*")+/g)) {
    const plain = word.replaceAll('"', "");
    if (/^tag:./.test(word)) found.tag.push(plain.slice(4));
    else if (/^\w+=/.test(word)) found.param.push(plain);
    else rest.push(plain);
  }
  found.search = rest.join(" ");
  return found;
}

const shownSearch = (query) =>
  [
    ...query.getAll("tag").map((tag) => `tag:${tag}`),
    ...query.getAll("param").map(quoted),
    query.get("search") ?? "",
  ]
    .filter(Boolean)
    .join(" ");

const quoted = (param) => (/\s/.test(param) ? `${param.replace("=", '="')}"` : param);

/** A form that calls `search({tag, param, search})`, or goes to the run whose id is given. */
export function searchForm(search) {
  const input = h("input", {
    type: "search",
    id: "search",
    placeholder: "limit=5  tag:nightly  or a text",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "search-help",
  });
  const submit = async (event) => {
    event.preventDefault();
    const wanted = input.value.trim();
    if (RUN_ID.test(wanted)) {
      try {
        return navigate(`/ui${runPath(await get(path("runs", wanted)))}`);
      } catch {
        // No run, or several, begin with it: the list shows which.
      }
    }
    search(parsedSearch(wanted));
  };
  const node = h(
    "form",
    { class: "search", role: "search", onsubmit: submit },
    h("label", { class: "unseen", for: "search" }, "Search runs"),
    input,
    h("button", { type: "submit" }, "Search"),
    h(
      "p",
      { class: "unseen", id: "search-help" },
      "A parameter as name=value, a tag as tag:name, and any text of an id, a tag, the parameters or the error.",
    ),
  );
  return {
    node,
    update(query) {
      if (document.activeElement !== input) input.value = shownSearch(query);
    },
  };
}
