// Dead letters: how many of each reason, and on request the newest ones.

import { Refused, letters, token } from "./api.js";
import { draw, el, find, moment, say } from "./dom.js";
import { bytes, clock, count, title, when } from "./words.js";

let of = null; // the model whose letters are shown

export function drawReasons(model, readOnly, started) {
  const entries = Object.entries(model.dead_letters).sort((a, b) => b[1] - a[1]);
  const since = `since the learner process started${started ? ` (${clock(started)})` : ""}`;
  draw(find("reasons"), [entries, model.newest_dead_letters, started], () => {
    if (!entries.length) return `No new ones ${since}. Older ones may be kept in the log.`;
    const rows = entries.map(([reason, number]) => {
      const newest = model.newest_dead_letters[reason];
      return el("li", {}, `${reasonName(reason)} ${count(number)}`, newest ? [", the newest ", moment(newest, when)] : "");
    });
    return [`New ones ${since}, by reason:`, el("ul", { className: "reasons" }, rows), "Older ones may be kept in the log."];
  });
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
    const { letters: found, reasons } = await letters(name);
    of = name;
    say(find("news"), `Showing ${found.length} dead letters.`);
    draw(find("letters"), found, () =>
      found.length ? reasons.map((group) => ofReason(group, found)) : el("p", { className: "quiet" }, "No dead letters."),
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

const reasonName = (reason) => (reason || "no reason given").replaceAll("_", " ");

/** The letters of one reason among the newest: how many, when the newest came, and each, the newest first. */
function ofReason({ reason, count: number, newest }, found) {
  return [
    el("h4", {}, `${title(reasonName(reason))}: ${count(number)} of the newest ${count(found.length)}`, newest === null ? "" : [", the last ", moment(newest, when)]),
    el("ol", { className: "letters" }, found.filter((one) => one.reason === reason).map(letter)),
  ];
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
        el("strong", {}, reasonName(one.reason)),
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
