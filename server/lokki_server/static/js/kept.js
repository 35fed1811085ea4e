/** Settings that the browser keeps; where it keeps none for pages, they last as long as the page. */

const here = new Map();

export function kept(name) {
  try {
    return localStorage.getItem(name) ?? here.get(name) ?? null;
  } catch {
    return here.get(name) ?? null;
  }
}

/** Keep a text; null forgets it. */
export function keep(name, text) {
  if (text === null) here.delete(name);
  else here.set(name, text);
  try {
    if (text === null) localStorage.removeItem(name);
    else localStorage.setItem(name, text);
  } catch {
    // It lasts as long as the page.
  }
}
