// One model: a sentence about its health, and its metrics.

import { drawAlarms } from "./alarms.js";
import { drawChampions } from "./champions.js";
import { drawChart } from "./chart.js";
import { draw, el, find, moment, say } from "./dom.js";
import { drawReasons } from "./letters.js";
import { drawVersions } from "./versions.js";
import { CONTROLS, ago, bytes, clock, count, doneWords, driftName, gain, gainWords, metricName, metricValue, namedValue, rate, share, short, span, title, when } from "./words.js";

const CONTINUAL = { // means over the classes; docs/evaluation.md
  min_accuracy: "Minimum class accuracy, held-out events",
  windowed_forgetting: "Forgetting, held-out events",
  windowed_plasticity: "Plasticity, held-out events",
};

export function drawModel(model, service, redraw) {
  say(find("name"), model.name);
  say(find("what"), `${model.learner.replaceAll("_", " ")} on ${model.topic}${model.labels_topic ? `, labels from ${model.labels_topic}` : ""}`);
  drawVerdict(model);
  drawChart(model);
  drawVitals(model, service);
  drawAlarms(model, redraw);
  drawChampions(model, service, redraw);
  drawVersions(model, service.read_only, redraw);
  drawReasons(model, Boolean(service.read_only), service.processes[model.learner_role]?.started);
}

function drawVerdict(model) {
  const [head, ...rest] = verdict(model);
  draw(find("verdict"), [head, rest, model.level], () => [el("strong", { className: model.level }, head), ...rest.map((text) => ` ${text}`)]);
  // the sentence says these already
  const said = new Set(["drift", "not_ready", "silent", "no_events", "unlabelled", "floor", "not_recovered", "replaced"]);
  const cause = stopped(model);
  const others = model.troubles.filter((one) => !said.has(one.code) && one.code !== cause?.code);
  draw(find("troubles"), others, () =>
    others.map((one) => el("li", { className: one.level }, el("span", { className: `mark ${one.level}` }), one.text)),
  );
}

/** The problem of a part of the model that keeps it from learning; the page begins with it. */
function stopped(model) {
  return model.troubles.find((one) => /^(learner|joiner)_(failed|waiting|degraded)$/.test(one.code));
}

const STOPPED = { failed: "Not learning:", waiting: "Waiting:", degraded: "Degraded:" };

function verdict(model) {
  const parts = [];
  const alarm = model.open_alarm;
  const trouble = (code) => model.troubles.find((one) => one.code === code);
  const cause = stopped(model);
  const why = cause && `${cause.text.slice(cause.text.indexOf(": ") + 2)}.`;
  const silent = model.ready && model.silent_since !== null;
  const halted = cause && why.startsWith("stopped by the circuit breaker");
  if (cause && !silent) parts.push(halted ? "Stopped" : STOPPED[cause.code.split("_").pop()], halted ? why.replace(/^stopped /, "") : why);
  if (!model.ready) parts.push("Not ready:", `${model.not_ready}.`);
  else if (cause && !silent) parts.push(`Predictions come from version ${count(model.state_version)}.`);
  else if (model.silent_since !== null) {
    parts.push("Learner not responding", `since ${clock(model.silent_since, true)}${why ? `: ${why}` : "."} Predictions come from version ${count(model.state_version)}.`);
  } else if (trouble("floor")) parts.push("Below the quality floor", `of ${metricValue(model.quality.metric, model.quality.floor)}.`);
  else if (alarm) parts.push(driftName(alarm), `since event ${count(alarm.since)} (${when(alarm.start_time)}).`);
  else if (!model.heard) parts.push("Starting:", "the learner has not reported yet.");
  else if (!model.events) parts.push("Waiting for the first event.");
  else if (model.quality?.now == null) parts.push("Quality unknown:", unknown(model));
  else if (trouble("no_labels")) parts.push("Labels are missing.");
  else if (trouble("not_recovered")) parts.push("Not recovered:", levelWords(model.recovery));
  else if (model.troubles.some((one) => one.code === "replaced" && one.level === "watch")) parts.push("Worse than before the rollback.");
  else if (model.troubles.some((one) => one.code === "lag" || one.code === "stalled")) parts.push("Falling behind.");
  else if (model.troubles.some((one) => one.code === "worse_than_frozen")) parts.push("Worse than the frozen baseline.");
  else if (model.troubles.some((one) => one.code.startsWith("no_better_than_") && one.level === "watch")) parts.push("No better than a guess.");
  else parts.push("Keeping up.");
  if (model.quality?.now != null) parts.push(qualityWords(model.quality));
  parts.push(...replacedWords(model), ...driftWords(model, parts.includes("Not recovered:")));
  return parts.filter(Boolean);
}

function unknown({ replaced, quality }) {
  if (replaced) {
    const before = replaced.before == null || !quality ? "" : `; ${namedValue(quality.metric, replaced.before)} before`;
    return `no labels since it was ${replaced.how} at event ${count(replaced.at)}${before}.`;
  }
  return "no labels received. Only the inputs are monitored; no drift detected.";
}

/** An error budget, in shares of it: what is left, or how often it is spent. */
function budget(left) {
  return left >= 0 ? `${share(left)} left` : `${share(1 - left)} spent`;
}

/** What a rollback or reset meant: figures from before it are of another state. */
function replacedWords({ replaced, quality }) {
  if (!replaced || quality?.now == null) return []; // or it is said already
  const before = replaced.before == null ? "" : `, ${metricValue(quality.metric, replaced.before)} before`;
  const now = `: ${namedValue(quality.metric, quality.now)} since`;
  return [`${title(replaced.how)} at event ${count(replaced.at)}${now}${before}.`];
}

/** The last drift: the level before it against the level now, and what was done about it. */
function driftWords({ alarms, open_alarm: alarm, recovery }, told) {
  const last = alarm ?? alarms[alarms.length - 1];
  if (!last) return [];
  if (told) return [doneWords(last)];
  if (!recovery) return alarm ? [doneWords(alarm)] : [`The last drift began at event ${count(last.since)}.`, doneWords(last)];
  if (recovery.recovered === null || recovery.recovered === undefined) {
    const before = `${namedValue(recovery.metric, recovery.before)} before event ${count(recovery.since)}`;
    return [`Too few labels since the drift to say whether the model has recovered: ${before}.`, doneWords(last)];
  }
  return [`${recovery.recovered ? "Recovered from the last drift" : "Not recovered"}: ${levelWords(recovery)}`, doneWords(last)];
}

function levelWords({ metric, now, before, since }) {
  return `${namedValue(metric, now)}, was ${metricValue(metric, before)} before event ${count(since)}.`;
}

function qualityWords(quality) {
  const value = metricValue(quality.metric, quality.now);
  const by = gain(quality);
  const name = title(metricName(quality.metric));
  if (by === null) return `${name} ${value}.`;
  const points = metricValue(quality.metric, 0).includes("%") ? " points" : "";
  const size = gainWords(quality).slice(1) + points;
  return by === 0 || Number.parseFloat(size) === 0
    ? `${name} ${value}, equal to the frozen baseline.`
    : `${name} ${value}, ${size} ${by > 0 ? "better" : "worse"} than the frozen baseline.`;
}

/** The main metric, last of a few: its confidence interval stands beneath it. */
function shownFirst(recent, main) {
  const others = Object.keys(recent).filter((name) => name !== main).slice(0, 4);
  return main in recent ? [...others, main] : others;
}

/** Of a mixture of experts: the weight of each, what it adds to the log-likelihood, and the time it has taken to learn. */
function experts(gauges) {
  const prefix = "expert_gain.";
  const names = Object.keys(gauges).filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  return names.map((name) => {
    const [types, gaps, gained, seconds] = [`weight.${name}.types`, `weight.${name}.gaps`, `gain.${name}`, `learn_seconds.${name}`].map((part) => short(gauges[`expert_${part}`]));
    return [title(name.replaceAll("_", " ")), `types ${types}, gaps ${gaps}, gain ${gained}, ${seconds} s`];
  });
}

function drawVitals(model, service) {
  const { freshness, latency, quality } = model;
  const bounds = quality?.low != null ? `${metricValue(quality.metric, quality.low).replace("\u00a0%", "")}–${metricValue(quality.metric, quality.high)}` : null;
  const lag = model.lag_records === null ? "–" : `${count(model.lag_records)} records`;
  const groups = {
    Stream: [
      ["Events/s", rate(model.events_per_second)],
      ["Lag", lag + (model.lag_seconds ? `, ${span(model.lag_seconds)}` : "")],
      ["Events seen", model.heard ? count(model.events) : "–"],
      ["Events learned", count(model.events_learned ?? model.learned_events)],
      model.label_delay_seconds == null ? null : ["Label delay", span(model.label_delay_seconds)],
    ],
    Freshness: [
      ["Staleness", span(model.staleness_seconds)],
      ["End-to-end delay", span(model.effect_seconds)],
      ["Record to answer p50", span(freshness.p50_seconds)],
      ["Record to answer p99", span(freshness.p99_seconds)],
      freshness.objective === null ? null : ["Objective", `${share(freshness.objective)} within ${span(freshness.within_seconds)}`],
      freshness.objective === null ? null : [`Error budget, ${count(freshness.window_days)} days`, budget(freshness.budget_remaining)],
      ["Version", count(model.state_version)],
      ["Published", model.published === null ? "–" : moment(model.published, ago)],
    ],
    "Predictions, last minute": [
      ["Latency p50", span(latency.p50_seconds)],
      ["Latency p99", span(latency.p99_seconds)],
      ["Requests/s", rate(latency.answers_per_second)],
    ],
    "Quality, recent": [
      ...shownFirst(model.recent, quality?.metric).map((name) => [title(metricName(name)), metricValue(name, model.recent[name])]),
      bounds ? [`95\u00a0% CI of ${metricName(quality.metric)}`, bounds] : null,
      quality?.frozen != null ? [`Frozen baseline, ${metricName(quality.metric)}`, metricValue(quality.metric, quality.frozen)] : null,
      ...Object.entries(quality?.controls ?? {}).map(([name, value]) => [`${title(CONTROLS[name] ?? name)}, ${metricName(quality.metric)}`, metricValue(quality.metric, value)]),
      model.micro_batch_events == null ? null : ["Labels known", model.micro_batch_events === 1 ? "before the next event" : `up to ${count(model.micro_batch_events - 1)} events late`],
      model.unanswered_events ? ["Not answered", count(model.unanswered_events)] : null,
      model.left_out_events ? ["Not in all figures", count(model.left_out_events)] : null,
      quality?.floor != null ? [`Floor, ${metricName(quality.metric)}`, metricValue(quality.metric, quality.floor)] : null,
      model.worst_case_accuracy == null ? null : ["Worst-case accuracy", metricValue("accuracy", model.worst_case_accuracy)],
      ...["min_accuracy", "windowed_forgetting", "windowed_plasticity"]
        .filter((name) => model.continual[name] != null)
        .map((name) => [CONTINUAL[name], metricValue("accuracy", model.continual[name])]),
    ],
    Experts: experts(model.gauges),
    Memory: [
      ["State", model.heard ? bytes(model.state_bytes) : "–"],
      ["Learner process", bytes(service.processes[model.learner_role]?.memory_bytes)],
      ["Server process", bytes(service.processes.server?.memory_bytes)],
      ...Object.entries(model.gauges).slice(0, 4).map(([name, value]) => [title(name.replaceAll(/[._]/g, " ")), name.endsWith("bytes") ? bytes(value) : short(value)]),
    ],
  };
  const shown = Object.entries(groups).map(([name, rows]) => [name, rows.filter(Boolean)]).filter(([, rows]) => rows.length);
  const facts = shown.map(([name, rows]) => [name, rows.map(([label, value]) => [label, value instanceof Node ? value.dataset.at : value])]);
  draw(find("vitals"), facts, () =>
    shown.map(([name, rows]) =>
      el("div", { className: "group" }, el("h4", {}, name), el("dl", {}, rows.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value))))),
    ),
  );
}
