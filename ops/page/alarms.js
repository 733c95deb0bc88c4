// The alarms of one model: a sentence each, the newest first, with the features that moved.

import { draw, el, find, moment } from "./dom.js";
import { timeOf } from "./chart.js";
import { alarmWords, count, short, when } from "./words.js";

const FIRST = 6;
const FEATURES = 5;
let all = false; // whether the older ones are shown, too …
let of = ""; // … of this model

export function drawAlarms(model, redraw) {
  if (of !== model.name) [of, all] = [model.name, false];
  const alarms = [...model.alarms].reverse();
  const shown = all ? alarms : alarms.slice(0, FIRST);
  draw(find("alarms"), [model.name, shown, alarms.length, Boolean(model.curve)], () => {
    if (!shown.length) return el("p", { className: "quiet" }, nothing(model));
    const more = alarms.length - shown.length;
    const button = el("button", { type: "button", "data-key": "more-alarms" }, `Show ${more} older`);
    button.addEventListener("click", () => {
      all = true;
      redraw();
    });
    return [el("ol", { className: "alarms" }, shown.map((alarm) => item(alarm, model.curve))), more > 0 ? button : null];
  });
}

function nothing(model) {
  if (!model.events) return "Nothing to watch yet.";
  return `No drift found in ${count(model.events)} events.`;
}

function item(alarm, curve) {
  const words = alarmWords(alarm, timeOf(curve, alarm.since));
  const open = alarm.end === null || alarm.end === undefined;
  const features = alarm.features.slice(0, FEATURES);
  return el(
    "li",
    { id: `alarm-${alarm.number}`, tabIndex: -1, className: alarm.kind === "inputs" ? "watch" : "bad" },
    el(
      "p",
      {},
      open ? el("strong", {}, "Open. ") : null,
      `${words.since} (`,
      moment(words.time, when),
      `) ${words.what} `,
      el("span", { className: "quiet" }, `${words.end} ${words.done}`),
    ),
    features.length ? bars(features) : null,
  );
}

function bars(features) {
  return el(
    "dl",
    { className: "bars", "aria-label": "Inputs that moved most" },
    features.map(({ name, distance }) => {
      const bar = el("span", { className: "bar", "aria-hidden": "true" }, el("span", {}));
      bar.firstChild.style.width = `${Math.min(100, Math.max(1, 100 * distance))}%`;
      return el("div", {}, el("dt", { title: name }, name), el("dd", {}, bar, short(distance)));
    }),
  );
}
