/** The event stream of a page, reconnected when lost; there is one at a time. */

import { get, parsed } from "./api.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
const HIDDEN_MS = 60_000;

let stream = null;
let watch = () => {};

/** `callback` gets {state: "idle" | "connecting" | "live" | "lost", heard, retryAt}. */
export function watchConnection(callback) {
  watch = callback;
}

/** Reconnect now, without waiting for the backoff. */
export function reconnect() {
  stream?.retry();
}

/**
 * Follow a stream: `handlers` have a function for each event's data, and `open`, called after each
 * connection: what came meanwhile has to be loaded. Returns a function that ends it.
 */
export function follow(url, handlers) {
  stream?.close();
  const own = new Stream(url, handlers);
  stream = own;
  return () => {
    own.close();
    if (stream === own) stream = null;
  };
}

class Stream {
  #source = null;
  #timer = null;
  #hiding = null;
  #tries = 0;
  #heard = null;

  constructor(url, handlers) {
    this.url = url;
    this.handlers = handlers;
    document.addEventListener("visibilitychange", this);
    window.addEventListener("online", this);
    this.#open("connecting");
  }

  #open(state) {
    this.#notify(state);
    const source = new EventSource(this.url);
    this.#source = source;
    source.onopen = () => {
      this.#tries = 0;
      this.#notify("live");
      this.handlers.open?.();
    };
    source.onerror = () => this.#lost();
    for (const name of Object.keys(this.handlers).filter((name) => name !== "open")) {
      source.addEventListener(name, (event) => {
        this.#heard = Date.now();
        this.handlers[name](parsed(event.data || "{}"));
      });
    }
  }

  #lost() {
    this.#source.close();
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#tries);
    const spread = wait * (0.75 + Math.random() / 2);
    if (this.#tries++ === 0) get("/runs?n=1").catch(() => {}); // a 401 opens the login page
    this.#timer = setTimeout(() => this.#open("lost"), spread);
    this.#notify("lost", Date.now() + spread);
  }

  retry() {
    clearTimeout(this.#timer);
    this.#source.close();
    this.#open("connecting");
  }

  /** A browser has few connections to a server: a hidden page gives up its own. */
  handleEvent(event) {
    if (event.type === "online") {
      this.retry();
    } else if (document.hidden) {
      this.#hiding = setTimeout(() => this.#rest(), HIDDEN_MS);
    } else {
      clearTimeout(this.#hiding);
      if (this.#source.readyState === EventSource.CLOSED) this.retry();
    }
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#source.close();
  }

  close() {
    document.removeEventListener("visibilitychange", this);
    window.removeEventListener("online", this);
    clearTimeout(this.#hiding);
    this.#rest();
    this.#notify("idle");
  }

  #notify(state, retryAt = null) {
    watch({ state, heard: this.#heard, retryAt });
  }
}
