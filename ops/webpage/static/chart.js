// The chart of quality, model and frozen baseline, and the drift timeline below it, on one axis: the event number.

import { draw, el, find, say } from "./dom.js";
import { alarmSentence, clock, count, metricName, metricValue, short, title } from "./words.js";

export const UNHEARD = "Nothing to show: the learner has not reported since it was started.";
const HEIGHT = 240;
const ROWS = 12; // of the table with the same data
let plot = null;
let shown = { metric: "", shape: "" };
let alarmsShown = [];
let pointsShown = [];

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Unix seconds of an event, interpolated between the points around it; null outside the curve. */
export function timeOf(curve, event) {
  const points = curve?.points ?? [];
  const after = points.findIndex((point) => point[0] >= event);
  if (after < 0 || points[after][1] === null || (after > 0 && points[after - 1][1] === null)) return null;
  if (after === 0) return points[0][0] === event ? points[0][1] : null;
  const [x0, t0] = points[after - 1];
  const [x1, t1] = points[after];
  return x1 > x0 ? t0 + ((t1 - t0) * (event - x0)) / (x1 - x0) : t1;
}

export function drawChart(model) {
  const curve = model.curve;
  const points = upToNow(model);
  alarmsShown = model.alarms;
  pointsShown = points;
  const box = find("chart");
  if (points.length < 2) {
    clear();
    const nothing = emptyWords(model);
    draw(box, ["empty", nothing], () => el("p", { className: "empty quiet" }, nothing));
    box.setAttribute("aria-label", nothing);
    say(find("curve-words"), "");
    say(find("legend"), "");
    find("curve-details").hidden = true;
  } else {
    drawCurve(box, model.name, curve, points);
    drawWords(model, curve, points);
  }
  drawTimeline(model, points);
}

/** The curve's points and the current value: the longer the stream, the farther apart the points. */
function upToNow({ curve, quality, events }) {
  const points = curve?.points ?? [];
  const last = points[points.length - 1];
  if (!last || quality?.metric !== curve.metric || quality.now === null || events <= last[0]) return points;
  return [...points, [events, null, quality.now, quality.frozen]];
}

function emptyWords(model) {
  if (!model.heard) return UNHEARD;
  if (!model.events) return "No events yet. The chart starts with the first labelled events.";
  if (!model.quality) return "Quality unknown: no labels received. Only the inputs are monitored for drift.";
  return "The chart starts in a moment.";
}

function clear() {
  if (plot) plot.destroy();
  plot = null;
  shown = { metric: "", shape: "" };
}

function drawCurve(box, name, curve, points) {
  const data = [0, 2, 3].map((column) => points.map((point) => point[column]));
  const shape = JSON.stringify([name, curve.metric]);
  if (!plot || shown.shape !== shape) {
    clear();
    draw(box, shape, () => []);
    shown = { metric: curve.metric, shape };
    plot = new window.uPlot(options(box.clientWidth, curve.metric), data, box);
  } else {
    plot.setData(data);
  }
}

function options(width, metric) {
  const axis = { stroke: color("--soft"), grid: { stroke: color("--rule"), width: 1 }, ticks: { show: false } };
  const font = `12px ${color("--sans")}`;
  return {
    width: Math.max(200, width),
    height: HEIGHT,
    padding: [8, 28, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { time: false }, y: { range: (_, low, high) => around(metric, low, high) } },
    axes: [
      { ...axis, font, size: 42, gap: 4, grid: { show: false }, space: 70, values: (_, marks) => marks.map((mark) => `${compact(mark)}\n${timeAt(mark)}`) },
      { ...axis, font, size: 54, values: (_, marks) => marks.map((mark) => metricValue(metric, mark).replace(".0\u00a0%", "\u00a0%")) },
    ],
    series: [
      {},
      { stroke: color("--live"), width: 2, points: { show: false } },
      { stroke: color("--frozen"), width: 1.5, dash: [5, 4], points: { show: false }, spanGaps: false },
    ],
    hooks: { drawClear: [bands], setCursor: [readout], ready: [place], setSize: [place], setScale: [place] },
  };
}

/** The time of an event as the axis shows it: the day if the curve spans more than one. */
function timeAt(event) {
  const at = timeOf({ points: pointsShown }, event);
  if (at === null || Math.abs(at) > 8e12) return "";
  const times = pointsShown.map((point) => point[1]).filter((time) => time !== null);
  const long = times[times.length - 1] - times[0];
  const then = new Date(at * 1000);
  if (long >= 2 * 86400) return then.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return then.toLocaleTimeString("en-GB", long >= 600 ? { hour: "2-digit", minute: "2-digit" } : {});
}

const compact = (value) => new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(value);

function around(metric, low, high) {
  if (low === null || high === null) return [0, 1];
  const air = Math.max((high - low) * 0.08, Math.abs(high) * 0.01, 1e-9);
  const share = metric.includes("accuracy") || metric.includes("auc");
  return share ? [Math.max(0, low - air), Math.min(1.002, high + air)] : [low - air, high + air];
}

/** Alarms as bands behind the curves, from the first drifted event; a line marks where each was detected. */
function bands(u) {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const { min, max } = u.scales.x;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  for (const alarm of alarmsShown) {
    const end = alarm.end ?? max;
    if (end < min || alarm.since > max) continue;
    const from = u.valToPos(alarm.since, "x", true);
    const to = Math.max(u.valToPos(end, "x", true), from + 2);
    const found = u.valToPos(alarm.start, "x", true);
    ctx.fillStyle = color(alarm.kind === "inputs" ? "--watch-band" : "--bad-band");
    ctx.fillRect(from, top, to - from, height);
    ctx.fillStyle = color(alarm.kind === "inputs" ? "--watch" : "--bad");
    ctx.fillRect(found - 0.75, top, 1.5, height);
  }
  ctx.restore();
}

function readout(u) {
  const at = u.cursor.idx;
  const point = at === null || at === undefined ? null : pointsShown[at];
  const words = point
    ? [
        `event ${count(point[0])}`,
        point[1] === null ? null : clock(point[1], true),
        `model ${metricValue(shown.metric, point[2])}`,
        point[3] === null || point[3] === undefined ? null : `frozen baseline ${metricValue(shown.metric, point[3])}`,
      ]
    : [];
  say(find("readout"), words.filter(Boolean).join(" · "));
}

/** The timeline lies below the plotted area, not below the axis labels. */
function place(u) {
  const strip = find("timeline");
  strip.style.marginLeft = `${u.bbox.left / devicePixelRatio}px`;
  strip.style.width = `${u.bbox.width / devicePixelRatio}px`;
}

function drawWords(model, curve, points) {
  const [first, last] = [points[0], points[points.length - 1]];
  const sign = curve.higher_is_better ? 1 : -1;
  const worst = points.filter((point) => point[2] !== null).sort((a, b) => sign * (a[2] - b[2]))[0] ?? last;
  const name = metricName(curve.metric);
  const value = (number) => metricValue(curve.metric, number);
  const frozen = last[3] === null || last[3] === undefined ? "" : `, frozen baseline ${value(last[3])}`;
  const words =
    `${title(name)} from event ${count(first[0])} to ${count(last[0])}: now ${value(last[2])}${frozen}. ` +
    `Worst value ${value(worst[2])} at event ${count(worst[0])}.`;
  say(find("curve-words"), words);
  find("chart").setAttribute("aria-label", words);
  draw(find("legend"), [last[2], last[3], curve.metric], () => [
    el("span", { className: "key live" }, `model, ${name} ${value(last[2])}`),
    el("span", { className: "key frozen" }, `frozen baseline ${value(last[3])}`),
  ]);
  find("curve-details").hidden = false;
  if (!find("curve-details").open) return;
  const step = Math.max(1, Math.floor((points.length - 1) / (ROWS - 1)));
  const rows = points.filter((_, place) => place % step === 0 || place === points.length - 1);
  draw(find("curve-table"), [model.name, rows], () => [
    el("caption", { className: "unseen" }, `${title(name)} by event`),
    el("thead", {}, el("tr", {}, ["Event", "Time", "Model", "Frozen baseline"].map((text) => el("th", { scope: "col" }, text)))),
    el(
      "tbody",
      {},
      rows.map(([event, at, live, baseline]) =>
        el("tr", {}, [count(event), at === null ? "–" : clock(at, true), value(live), value(baseline)].map((text) => el("td", {}, text))),
      ),
    ),
  ]);
}

function drawTimeline(model, points) {
  const strip = find("timeline");
  const from = points.length > 1 ? points[0][0] : 0;
  const to = points.length > 1 ? points[points.length - 1][0] : Math.max(1, model.events);
  if (!plot) strip.style.marginLeft = strip.style.width = "";
  const inside = model.alarms.filter((alarm) => (alarm.end ?? to) >= from && alarm.since <= to);
  const facts = inside.map(({ number, since, end, kind, done }) => [number, since, end, kind, done]);
  const empty = model.events ? "no drift detected" : "";
  draw(strip, [model.name, facts, empty], () => (facts.length ? inside.map(mark) : el("span", { className: "quiet" }, empty)));
  strip.classList.toggle("calm", inside.length === 0);
  const share = (event) => (Math.min(Math.max(event, from), to) - from) / Math.max(1, to - from);
  inside.forEach((alarm, place) => {
    const button = strip.children[place];
    button.style.left = `${100 * share(alarm.since)}%`;
    button.style.width = `${100 * (share(alarm.end ?? to) - share(alarm.since))}%`;
  });
}

function mark(alarm) {
  const button = el("button", {
    type: "button",
    className: `drift ${alarm.kind === "inputs" ? "watch" : "bad"}`,
    title: `${alarmSentence(alarm)} Severity ${short(alarm.severity)}.`,
    "aria-label": `Alarm ${alarm.number}: ${alarmSentence(alarm)}`,
    "data-key": `mark-${alarm.number}`,
  });
  if (alarm.done?.startsWith("rolled back")) button.append("↺");
  button.addEventListener("click", () => find(`alarm-${alarm.number}`)?.focus());
  return button;
}

/** The width follows the window, the colours follow the system's scheme. */
export function watchWindow(redraw) {
  new ResizeObserver(() => {
    const width = find("chart").clientWidth;
    if (plot && width && Math.abs(plot.width - width) > 1) plot.setSize({ width, height: HEIGHT });
  }).observe(find("chart"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    clear();
    redraw();
  });
  find("curve-details").addEventListener("toggle", redraw);
}
