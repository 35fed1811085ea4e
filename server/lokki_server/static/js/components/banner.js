/** Whether what is shown is live: a word in the top bar, and a banner when it is not. */

import { h, setText } from "../dom.js";
import { reconnect, watchConnection } from "../events.js";
import { clockTime } from "../time.js";

const WORDS = { idle: "", connecting: "connecting", live: "live", lost: "not live" };
const GRACE_MS = 1500;

export function showConnection(banner, sign, main) {
  const text = h("p");
  const bar = h(
    "div",
    { class: "banner" },
    text,
    h("button", { type: "button", onclick: reconnect }, "Try now"),
  );
  const countdown = h("span", { "aria-hidden": "true" });
  let last = { state: "idle" };
  let lostSince = null;
  let ticking = null;

  const draw = () => {
    if (Date.now() - lostSince < GRACE_MS) return;
    const heard = last.heard ? ` What is shown is of ${clockTime(last.heard)}.` : "";
    const seconds = Math.ceil((last.retryAt - Date.now()) / 1000);
    setText(countdown, last.retryAt && seconds > 0 ? ` in ${seconds}s` : "");
    if (!bar.isConnected) {
      text.replaceChildren("Connection lost, trying again", countdown, `.${heard}`);
      banner.replaceChildren(bar);
      main.dataset.stale = "";
    }
  };
  watchConnection((connection) => {
    const wasLost = lostSince !== null;
    last = { ...connection, heard: connection.heard ?? last.heard };
    sign.dataset.state = wasLost && connection.state === "connecting" ? "lost" : connection.state;
    setText(sign, WORDS[sign.dataset.state]);
    if (connection.state === "lost") {
      lostSince ??= Date.now();
      ticking ??= setInterval(draw, 500);
    } else if (connection.state !== "connecting") {
      clearInterval(ticking);
      ticking = lostSince = null;
      if (connection.state === "idle") last.heard = null;
      banner.replaceChildren();
      delete main.dataset.stale;
    }
  });
}
