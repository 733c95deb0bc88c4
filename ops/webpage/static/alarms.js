// The alarms of one model: a sentence each, the newest first, with the features that drifted most.

import { draw, el, find, moment, say } from "./dom.js";
import { UNHEARD, timeOf } from "./chart.js";
import { alarmWords, count, detectorName, metricName, metricValue, short, title, when } from "./words.js";

const FIRST = 6;
const FEATURES = 5;
let all = false; // whether the older ones are shown, too …
let of = ""; // … of this model

export function drawAlarms(model, redraw) {
  if (of !== model.name) [of, all] = [model.name, false];
  say(find("nearest"), nearest(model.scores));
  const alarms = [...model.alarms].reverse();
  const shown = all ? alarms : alarms.slice(0, FIRST);
  const metric = model.quality?.metric;
  const empty = shown.length ? "" : nothing(model);
  draw(find("alarms"), [model.name, shown, alarms.length, Boolean(model.curve), metric, empty], () => {
    if (empty) return el("p", { className: "quiet" }, empty);
    const more = alarms.length - shown.length;
    const button = el("button", { type: "button", "data-key": "more-alarms" }, `Show ${more} older`);
    button.addEventListener("click", () => {
      all = true;
      redraw();
    });
    return [el("ol", { className: "alarms" }, shown.map((alarm) => item(alarm, model.curve, metric))), more > 0 ? button : null];
  });
}

/** The detector with the highest score, in percent of its alarm threshold. */
function nearest(scores) {
  const first = [...scores].sort((a, b) => b.score - a.score)[0];
  if (!first || !(first.score > 0)) return "";
  const level = first.score >= 1 ? "firing" : `${Math.round(100 * first.score)}\u00a0% of the alarm threshold`;
  return `${title(detectorName(first.detector))} on ${first.signal === "twin" ? "the frozen baseline's loss" : first.signal}: ${level}`;
}

function nothing(model) {
  if (!model.heard) return UNHEARD;
  if (!model.events) return "No events yet.";
  return `No drift detected in ${count(model.events)} events.`;
}

/** The main metric before the drift and after it. */
function levelWords({ quality_before: before, quality_after: after }, metric) {
  if (before == null || !metric) return "";
  const now = after == null ? "not known yet" : metricValue(metric, after);
  return `${title(metricName(metric))} before: ${metricValue(metric, before)}; after: ${now}.`;
}

function item(alarm, curve, metric) {
  const words = alarmWords(alarm, timeOf(curve, alarm.since));
  const open = alarm.end === null || alarm.end === undefined;
  const level = levelWords(alarm, metric);
  const features = alarm.features.slice(0, FEATURES);
  return el(
    "li",
    { id: `alarm-${alarm.number}`, tabIndex: -1, className: alarm.kind === "inputs" ? "watch" : "bad" },
    el(
      "p",
      {},
      open ? el("strong", {}, "Firing. ") : null,
      `${words.since} (`,
      moment(words.time, when),
      `): ${words.what} `,
      el("span", { className: "quiet" }, [words.end, words.done].filter(Boolean).join(" ")),
      level ? el("span", { className: "level" }, ` ${level}`) : null,
    ),
    features.length ? bars(features) : null,
  );
}

function bars(features) {
  return el(
    "dl",
    { className: "bars", "aria-label": "Inputs that drifted most" },
    features.map(({ name, distance }) => {
      const bar = el("span", { className: "bar", "aria-hidden": "true" }, el("span", {}));
      bar.firstChild.style.width = `${Math.min(100, Math.max(1, 100 * distance))}%`;
      return el("div", {}, el("dt", { title: name }, name), el("dd", {}, bar, short(distance)));
    }),
  );
}
