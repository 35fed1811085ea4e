import { svg } from "./dom.js";

/** Each status has a shape of its own, so that colour is never the only sign; so have the schemes. */
const PATHS = {
  succeeded: "M3.5 8.5l3 3 6-7",
  failed: "M4 4l8 8M12 4l-8 8",
  tolerated: "M8 3v6M8 12v.8",
  running: "M5.5 3.5l6.5 4.5-6.5 4.5z",
  retrying: "M12.5 8a4.5 4.5 0 1 1-1.5-3.3M12.5 2.5v3h-3",
  queued: "M8 4v4l2.5 2M14 8a6 6 0 1 1-12 0 6 6 0 0 1 12 0",
  paused: "M5.5 3.5v9M10.5 3.5v9",
  pausing: "M5.5 3.5v9M10.5 3.5v9",
  cancelled: "M3.8 12.2l8.4-8.4M14 8a6 6 0 1 1-12 0 6 6 0 0 1 12 0",
  cancelling: "M3.8 12.2l8.4-8.4M14 8a6 6 0 1 1-12 0 6 6 0 0 1 12 0",
  lost: "M5.5 6a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M8 12.8v.2",
  pending: "M4 8h.1M8 8h.1M12 8h.1",
  system: "M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 1 1 0-11M8 3v10M10.5 3.6v8.8",
  light: "M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 1 1 0-5.6M8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7",
  dark: "M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5",
};

export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" },
    svg("path", { d: PATHS[name] ?? PATHS.pending }),
  );
}
