// Requests to the service. The token is only in this tab's session storage and in the request's header.

const KEY = "thalweg-token";
const PATIENCE = 8000; // milliseconds, for data
const ACTION_PATIENCE = 45000; // a learner may be in the middle of a large block

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  keep: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

async function ask(path, options, patience) {
  const answer = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(patience) });
  if (answer.ok) return answer.json();
  const text = await answer.text();
  let message = text;
  try {
    message = JSON.parse(text).error ?? text;
  } catch {
    // no JSON: a proxy between the page and the service answered
  }
  throw new Refused(answer.status, message.slice(0, 1000) || `HTTP ${answer.status}`);
}

const authorized = () => (token.get() ? { authorization: `Bearer ${token.get()}` } : {});
const place = (name) => `/api/models/${encodeURIComponent(name)}`;

export const models = () => ask("/api/models", { headers: authorized() }, PATIENCE);
export const model = (name) => ask(place(name), { headers: authorized() }, PATIENCE);
export const letters = (name) => ask(`${place(name)}/dead_letters?limit=20`, { headers: authorized() }, 2 * PATIENCE);

export function act(name, verb, body) {
  const headers = { ...authorized(), "content-type": "application/json" };
  return ask(`${place(name)}/${verb}`, { method: "POST", headers, body: JSON.stringify(body ?? {}) }, ACTION_PATIENCE);
}

export function promote(alias, model) {
  const headers = { ...authorized(), "content-type": "application/json" };
  const path = `/v1/aliases/${encodeURIComponent(alias)}/promote`;
  return ask(path, { method: "POST", headers, body: JSON.stringify({ model }) }, ACTION_PATIENCE);
}
