/** Requests to the server; an error becomes a Problem with a message to show. */

import { learnClock } from "./time.js";

const PATIENCE_MS = 30_000;
let unauthorized = () => {};

export class Problem extends Error {
  constructor(status, title, detail, errors) {
    super([title, detail].filter(Boolean).join(": "));
    Object.assign(this, { status, title, detail, errors: errors ?? [] });
  }
}

/** Register what is called when the server requires a token. */
export function onUnauthorized(callback) {
  unauthorized = callback;
}

export const path = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;

/** The path of a run, here or on AWS, or of something below it. */
export const runPath = (run, ...below) =>
  run.where === "aws"
    ? path("aws", "flows", run.flow, "executions", run.id, ...below)
    : path("runs", run.id, ...below);

/** A path with those of the parameters that have a value; lists are repeated. */
export function withQuery(base, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) {
      if (each !== null && each !== undefined && each !== "") query.append(name, each);
    }
  }
  return query.size ? `${base}?${query}` : base;
}

/** The address of the comparison of a run with another. */
export const compareUrl = ({ id, where, flow }, second = null) =>
  withQuery("/ui/compare", { first: id, second, ...(where === "aws" && { on: where, flow }) });

export async function get(url, signal) {
  return parsed(await (await request(url, {}, signal)).text());
}

/** Parse JSON; integers stay exact, however long. */
export function parsed(text) {
  return JSON.parse(text, (_, value, { source } = {}) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source)
      ? BigInt(source)
      : value,
  );
}

/** A value as JSON. */
export function written(value, space) {
  return JSON.stringify(
    value,
    (_, each) => (typeof each === "bigint" ? JSON.rawJSON(String(each)) : each),
    space,
  );
}

/** The body as text, or null if it is longer than `most` characters. */
export async function getText(url, most, signal) {
  const reader = (await request(url, {}, signal)).body
    .pipeThrough(new TextDecoderStream())
    .getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text;
    text += value;
    if (text.length > most) {
      reader.cancel();
      return null;
    }
  }
}

export async function post(url, body, headers = {}) {
  const answer = await request(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: written(body),
  });
  return answer.status === 204 ? null : parsed(await answer.text());
}

async function request(url, options, signal) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  let answer;
  try {
    answer = await fetch(url, {
      ...options,
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (patience.aborted) throw new Problem(0, "No answer", "the server has not answered in 30s");
    throw new Problem(0, "Not connected", "the server cannot be reached");
  }
  learnClock(answer.headers.get("Date"));
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const problem = new Problem(
    answer.status,
    body.title ?? `The server answered ${answer.status}`,
    body.detail,
    body.errors,
  );
  if (answer.status === 401) unauthorized();
  throw problem;
}
