/** Times and durations in words, the words of the command line. */

import { h, setAttribute, setText } from "./dom.js";

let ahead = 0;

/** Learn from an answer how far the server's clock is ahead of ours. */
export function learnClock(date) {
  const at = Date.parse(date ?? "");
  if (!Number.isNaN(at) && Math.abs(at - Date.now() - ahead) > 2000) ahead = at - Date.now();
}

/** Now, in ms, as the server has it. */
export const now = () => Date.now() + ahead;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) {
    if (Number.isInteger(seconds)) return `${seconds}s`;
    return seconds >= 0.1 ? `${seconds.toFixed(1)}s` : `${Math.round(1000 * seconds)}ms`;
  }
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}h${two(minutes)}m` : `${minutes}m${two(whole % 60)}s`;
}

/** How long each of many took: two digits where it is little. */
export const mean = (seconds) =>
  seconds >= 0.1 ? duration(seconds) : `${Number((1000 * seconds).toPrecision(2))}ms`;

export function rate(perSecond) {
  if (!perSecond) return "";
  if (perSecond < 0.1) return `${(60 * perSecond).toFixed(1)}/min`;
  return perSecond < 10 ? `${perSecond.toFixed(1)}/s` : `${count(Math.round(perSecond))}/s`;
}

export const count = (number) => number.toLocaleString("en");

/** Seconds since a time that the server has given. */
export const since = (iso) => Math.max(0, Math.floor((now() - Date.parse(iso)) / 1000));

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

export const clockTime = (at) => clock.format(at);

function local(iso) {
  const at = new Date(iso);
  const today = new Date();
  const shifted = (days) => new Date(today.getFullYear(), today.getMonth(), today.getDate() + days);
  const time = clock.format(at);
  if (at >= shifted(0) && at < shifted(1)) return time;
  if (at >= shifted(-1) && at < shifted(0)) return `yesterday ${time}`;
  if (at >= shifted(1) && at < shifted(2)) return `tomorrow ${time}`;
  const date = at.getFullYear() === today.getFullYear() ? day.format(at) : year.format(at);
  return `${date}, ${time}`;
}

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

const exactly = (iso) => exact.format(new Date(iso));

/** A local time whose title is the exact one, with its date and zone, and in UTC. */
export function when(iso, none = "–") {
  return setWhen(h("time"), iso, none);
}

export function setWhen(node, iso, none = "–", text = local) {
  setText(node, iso ? text(iso) : none);
  setAttribute(node, "datetime", iso ?? null);
  const utc = iso?.replace("T", " ").replace("Z", " UTC");
  setAttribute(node, "title", iso ? `${exactly(iso)} (${utc})` : null);
  return node;
}

/** The same with its date and zone in its text. */
export const setExactly = (node, iso, none) => setWhen(node, iso, none, exactly);
