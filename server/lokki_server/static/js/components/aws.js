/** Runs on AWS beside those of the journal: polled, since AWS pushes no changes. */

import { get, path, withQuery } from "../api.js";

const LOOK_MS = 5000;

/** The newest runs on AWS of flows that are deployed, or of one; `problem`: why there are none. */
async function awsRuns({ flow, ...filter }, most, signal) {
  const { flows, account, problem } = await get("/aws/flows", signal);
  const pages = await Promise.all(
    flows
      .filter((name) => !flow || name === flow)
      .map((name) =>
        get(
          withQuery(path("aws", "flows", name, "executions"), { ...filter, n: most }),
          signal,
        ),
      ),
  );
  return { runs: pages.flatMap(({ runs }) => runs), problem, configured: Boolean(account ?? problem) };
}

/** Call `take({runs, problem})` at once and every few seconds. Gives {again(), close()}. */
export function watchAws(filter, most, take) {
  let abort = new AbortController();
  let timer = null;
  async function look() {
    clearTimeout(timer);
    const { signal } = abort;
    let goesOn = true;
    try {
      if (!document.hidden) {
        const found = await awsRuns(filter(), most, signal);
        goesOn = found.configured;
        take(found);
      }
    } catch (problem) {
      if (signal.aborted) return;
      take({ runs: [], problem: problem.detail ?? problem.message });
    }
    if (goesOn && !signal.aborted) timer = setTimeout(look, LOOK_MS);
  }
  look();
  return {
    again() {
      abort.abort();
      abort = new AbortController();
      look();
    },
    close() {
      abort.abort();
      clearTimeout(timer);
    },
  };
}
