/** The last runs of a flow, updated as new ones come. */

import { get, withQuery } from "../api.js";
import { throttle } from "../dom.js";
import { keyOf, newestFirst } from "../model.js";
import { fetched } from "./states.js";

const REDRAW_MS = 500;

/** `draw(runs)` gives {node, update(runs)}, `none()` what is shown when there are none. */
export function recentRuns(flow, most, place, { draw, none }) {
  let runs = null;
  let drawn = null;
  const first = () => {
    if (!runs.length) return none();
    drawn = draw(runs);
    drawn.update(runs);
    return drawn.node;
  };
  const redraw = throttle(
    () => (drawn ? drawn.update(runs) : place.replaceChildren(first())),
    REDRAW_MS,
  );
  const stop = fetched(
    place,
    (signal) => get(withQuery("/runs", { flow, n: most }), signal),
    (found) => {
      ({ runs } = found);
      return first();
    },
  );
  return {
    take(changed) {
      const own = changed.filter((run) => run.flow === flow);
      if (!runs || !own.length) return;
      const all = new Map([...runs, ...own].map((run) => [keyOf(run), run]));
      runs = newestFirst(all.values()).slice(0, most);
      redraw();
    },
    close() {
      stop();
      redraw.stop();
    },
  };
}
