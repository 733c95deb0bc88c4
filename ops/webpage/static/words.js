// Numbers, times and alarms in words.

let ahead = 0; // seconds that the service's clock is ahead of this machine's

export function setClock(serviceTime) {
  ahead = serviceTime - Date.now() / 1000;
}

export const now = () => Date.now() / 1000 + ahead;

const known = (value) => typeof value === "number" && Number.isFinite(value);

export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en") : "–";
}

/** A number with three significant digits; whole numbers below 1e9 in full. */
export function short(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9 || (size >= 1e6 && !Number.isInteger(value))) return value.toExponential(2);
  if (size >= 100 || Number.isInteger(value)) return count(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return value.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

/** A part of a whole, in percent. */
export function share(value) {
  return known(value) ? `${short(value * 100)}\u00a0%` : "–";
}

export function rate(value) {
  if (!known(value)) return "–";
  return value >= 100 ? count(value) : value >= 10 ? value.toFixed(0) : value.toFixed(value ? 1 : 0);
}

export function bytes(value) {
  if (!known(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 ? value : value.toFixed(value >= 100 ? 0 : 1)}\u00a0${units[unit]}`;
}

/** A duration in the largest unit that suits it. */
export function span(seconds) {
  if (!known(seconds)) return "–";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)}\u00a0µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 2 : seconds < 0.1 ? 1 : 0)}\u00a0ms`;
  if (seconds < 10) return `${seconds.toFixed(1)}\u00a0s`;
  if (seconds < 100) return `${seconds.toFixed(0)}\u00a0s`;
  for (const [size, name] of [[60, "min"], [3600, "h"], [86400, "days"], [31557600, "years"]].reverse()) {
    if (seconds >= size * (size === 60 ? 1 : 2)) return `${count(seconds / size)}\u00a0${name}`;
  }
  return `${count(seconds / 60)}\u00a0min`;
}

export function clock(at, withSeconds = false) {
  if (!known(at) || Math.abs(at) > 8e12) return "unknown time";
  const then = new Date(at * 1000);
  const hours = then.toLocaleTimeString("en-GB", withSeconds ? {} : { hour: "2-digit", minute: "2-digit" });
  if (then.toDateString() === new Date(now() * 1000).toDateString()) return hours;
  return `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${hours}`;
}

/** How long ago; a time in the future, or one of another clock, is shown as it is. */
export function ago(at) {
  const age = now() - at;
  if (!known(age) || age < -2) return clock(at);
  return age < 2 ? "now" : `${age < 10 ? `${Math.floor(age)}\u00a0s` : span(Math.floor(age))} ago`;
}

/** When, and how long ago. */
export function when(at) {
  const age = now() - at;
  return known(age) && age >= -2 && age < 86400 * 30 ? `${clock(at)}, ${ago(at)}` : clock(at);
}

const SHARES = new Set(["accuracy", "balanced_accuracy", "top3_accuracy", "auc", "gauc"]);
const NAMES = { auc: "AUC", gauc: "gAUC", rmse: "RMSE", mae: "MAE" };

export const metricName = (name) => NAMES[name] ?? name.replaceAll("_", " ");
export const title = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export function metricValue(name, value) {
  if (!known(value)) return "–";
  return SHARES.has(name) && !name.includes("auc") ? `${(value * 100).toFixed(1)}\u00a0%` : short(value);
}

/** A value after its metric's name: "accuracy 62.0 %". */
export const namedValue = (name, value) => `${metricName(name)}\u00a0${metricValue(name, value)}`;

export const CONTROLS = { majority: "majority class", mean: "mean of the labels", repeat_last_label: "label before" };

/** By how much the model is better than its frozen baseline: above 0 is better, whatever the metric. */
export function gain(quality) {
  if (!quality || !known(quality.now) || !known(quality.frozen)) return null;
  return (quality.now - quality.frozen) * (quality.higher_is_better ? 1 : -1);
}

export function gainWords(quality) {
  const by = gain(quality);
  if (by === null) return "–";
  const sign = by > 0 ? "+" : by < 0 ? "−" : "±";
  const percent = SHARES.has(quality.metric) && !quality.metric.includes("auc");
  return sign + (percent ? (Math.abs(by) * 100).toFixed(1) : short(Math.abs(by)));
}

const DETECTORS = {
  adwin: "ADWIN",
  page_hinkley: "Page-Hinkley",
  kswin: "KSWIN",
  ddm: "DDM",
  ks: "the Kolmogorov-Smirnov test",
  psi: "the population stability index",
  mmd: "the maximum mean discrepancy",
};
export const detectorName = (name) => DETECTORS[name] ?? name;

const SIGNALS = {
  loss: (by) => `loss +${by}`,
  twin: (by) => `loss of the frozen baseline +${by} (the model's own loss does not show it, because the model keeps learning)`,
  confidence: (by) => `confidence −${by}`,
  inputs: (by) => `distance between the distributions ${by}`,
  predictions: (by) => `distance between the distributions ${by}`,
};

/** What kind of drift an alarm reports. */
export function driftName(alarm) {
  if (alarm.kind === "both") return "Concept and input drift";
  if (alarm.kind === "concept") return "Concept drift";
  return alarm.signal === "predictions" ? "Prediction drift" : "Input drift";
}

/** The action that was taken on an alarm, as the service reports it, as a sentence. */
export function doneWords(alarm) {
  if (alarm?.done) return `${title(alarm.done)}.`;
  return alarm?.action && alarm.action !== "observe" ? `Action pending: ${alarm.action.replaceAll("_", " ")}.` : "";
}

/** One alarm as a sentence; `sinceTime` is the time of its first event, if known. */
export function alarmWords(alarm, sinceTime) {
  const by = short(alarm.severity);
  const signal = (SIGNALS[alarm.signal] ?? ((size) => `${alarm.signal} ${size}`))(by);
  const detector = detectorName(alarm.detector);
  const same = alarm.kind === "concept" ? "; no drift detected in the inputs" : "";
  return {
    since: `${driftName(alarm)} since event ${count(alarm.since)}`,
    time: known(sinceTime) ? sinceTime : alarm.start_time,
    what: `${signal}, detected by ${detector} at event ${count(alarm.start)}${same}.`,
    end: alarm.end === null || alarm.end === undefined ? "" : `Last detected at event ${count(alarm.end)}.`,
    done: doneWords(alarm) || "No action: the policy is observe.",
  };
}

/** The same as one text, for a screen reader. */
export function alarmSentence(alarm) {
  const words = alarmWords(alarm);
  return `${words.since} (${when(words.time)}): ${words.what}`;
}
