// Builds elements from data. Everything that comes from the service becomes text, never markup.

/** An element with properties, attributes (names with a dash), and children: nodes, texts, or nothing. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.includes("-") || name === "role" || name === "scope" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const find = (id) => document.getElementById(id);

/** Set a text only if it differs, so that a screen reader or a selection is not disturbed. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const drawn = new WeakMap();

/** Redraw an element's children when `facts` have changed; the focus stays on the element with the same `data-key`. */
export function draw(element, facts, make) {
  const signature = JSON.stringify(facts);
  if (drawn.get(element) === signature) return;
  drawn.set(element, signature);
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const open = new Set([...element.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key));
  element.replaceChildren(...[make()].flat(2).filter(Boolean));
  for (const one of element.querySelectorAll("details[data-key]")) one.open = open.has(one.dataset.key);
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** A time shown as an age: `ages` updates its text. */
export function moment(at, words) {
  const made = el("time", { "data-at": String(at) }, words(at));
  made.words = words;
  return made;
}

export function ages() {
  for (const one of document.querySelectorAll("time[data-at]")) {
    if (one.words) say(one, one.words(Number(one.dataset.at)));
  }
}
