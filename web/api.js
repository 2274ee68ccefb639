// Requests to the API: with a token, sent again where that is harmless, and every failure a Problem.

import { Problem } from "./problem.js";
import { signedOut, token } from "./sign-in.js";

const TRIES = 4;
const PASSING = [429, 502, 503, 504];

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds before another try: growing, and not the same for everybody. */
export const backoff = (attempt) => 400 * 2 ** attempt * (0.5 + Math.random());

/** A key for a request that may be sent more than once. */
export const newKey = () => crypto.randomUUID();

/**
 * @param {string} method
 * @param {string} path with its query
 * @param {{body?: Object, key?: string}} given a POST has a key of its own where none is given
 * @returns {Promise<Object|null>} the answer's JSON; null where it has none
 * @throws {Problem}
 */
export async function ask(method, path, { body, key } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method === "POST") headers["Idempotency-Key"] = key ?? newKey();
  const request = { method, headers, body: JSON.stringify(body), cache: "no-store" };
  let renewed = false;
  for (let attempt = 0; ; attempt += 1) {
    headers.Authorization = `Bearer ${await token()}`;
    const answer = await fetch(path, request).catch(() => null);
    if (answer?.status === 401 && !renewed) {
      renewed = true;
      await token(true);
    } else if (passes(answer) && attempt + 1 < TRIES) {
      await pause(Math.max(backoff(attempt), 1000 * (Number(answer?.headers.get("Retry-After")) || 0)));
    } else {
      return read(answer);
    }
  }
}

/**
 * Whether the same request may succeed in a moment; 409 with Retry-After means that it is still being answered.
 * The gateway's own 429, of too many requests, passes; the API's, of what does not fit into a plan, does not.
 */
const passes = (answer) =>
  !answer || (PASSING.includes(answer.status) && !isOverQuota(answer)) || (answer.status === 409 && answer.headers.has("Retry-After"));

const isOverQuota = ({ status, headers }) => status === 429 && (headers.get("Content-Type") ?? "").startsWith("application/problem+json");

async function read(answer) {
  if (!answer) throw new Problem({ title: "Magpie cannot be reached", detail: "Look at your connection, and try again." });
  const content = await answer.json().catch(() => null);
  if (answer.ok) return content;
  if (answer.status === 401) throw signedOut();
  // What API Gateway answers by itself is no problem+json.
  const title = answer.status === 429 ? "Too many requests at once" : "That did not work";
  const reference = answer.headers.get("Apigw-Requestid");
  throw new Problem({ title, detail: content?.message, correlation_id: reference, ...content, status: answer.status });
}

/** A query of what is not empty. */
export function query(path, parameters) {
  const said = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return said.length ? `${path}?${new URLSearchParams(said)}` : path;
}
