// Dead letters: how many of each reason, and on request the newest ones.

import { Refused, letters, token } from "./api.js";
import { draw, el, find, moment, say } from "./dom.js";
import { bytes, count, when } from "./words.js";

let of = null; // the model whose letters are shown

export function drawReasons(model, readOnly) {
  const entries = Object.entries(model.dead_letters).sort((a, b) => b[1] - a[1]);
  const words = entries.map(([reason, number]) => `${reason.replaceAll("_", " ")} ${count(number)}`);
  say(
    find("reasons"),
    words.length
      ? `Since the learner process started: ${words.join(", ")}. Older ones may be kept in the log.`
      : "No new ones since the learner process started. Older ones may be kept in the log.",
  );
  if (of !== null && of !== model.name) {
    of = null;
    draw(find("letters"), null, () => []);
  }
  find("peek").dataset.open = String(readOnly);
}

/** Fetch and show the newest; `unlock` asks for a token where one is required. */
export async function peek(name, readOnly, unlock) {
  if (!readOnly && !token.get() && !(await unlock())) return;
  try {
    const found = (await letters(name)).letters;
    of = name;
    say(find("news"), `Showing ${found.length} dead letters.`);
    draw(find("letters"), found, () =>
      found.length ? el("ol", { className: "letters" }, found.map(letter)) : el("p", { className: "quiet" }, "No dead letters."),
    );
  } catch (error) {
    if (error instanceof Refused && error.status === 401 && (token.get() || !readOnly)) {
      token.forget();
      if (await unlock("The token was not accepted.")) await peek(name, readOnly, unlock);
      return;
    }
    of = name;
    draw(find("letters"), error.message, () => el("p", { className: "result failed" }, `Cannot read the dead letters: ${error.message}`));
  }
}

function letter(one) {
  const where = one.offset < 0 ? `in ${one.kept_in}` : `${one.topic}, partition ${one.partition}, offset ${one.offset}`;
  const rows = one.rows.length ? ` Rows ${one.rows.join(", ")} of the record.` : "";
  return el(
    "li",
    {},
    el(
      "details",
      { "data-key": `${one.kept_in} ${one.partition} ${one.offset}` },
      el(
        "summary",
        {},
        el("strong", {}, (one.reason || "no reason given").replaceAll("_", " ")),
        " ",
        one.time === null ? "" : moment(one.time, when),
        el("span", { className: "quiet" }, ` ${where}`),
      ),
      el("p", {}, `${one.detail || "No detail given"}.${rows}${one.model ? ` Rejected by ${one.model}.` : ""}`),
      part("Key", one.key),
      part("Value", one.value),
      one.headers.map((header) => part(`Header ${header.name}`, header.value)),
    ),
  );
}

const KINDS = { json: "JSON", text: "text", bytes: "bytes" };

function part(name, { kind, size, text, cut }) {
  if (kind === "nothing") return name === "Value" ? el("p", { className: "quiet" }, "Value: none") : null;
  const what = `${name}: ${KINDS[kind]}, ${bytes(size)}${cut ? ", truncated" : ""}`;
  return el("div", {}, el("p", { className: "quiet" }, what), el("pre", { tabIndex: 0, role: "group", "aria-label": what }, text));
}
