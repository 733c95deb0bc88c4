// The list of models: one line each, the most severe problems first.

import { draw, el, find } from "./dom.js";
import { count, gain, gainWords, metricName, metricValue } from "./words.js";

const RANK = { bad: 0, watch: 1, well: 2 };
export const LEVEL_WORDS = { bad: "critical", watch: "warning", well: "healthy" };
const last = (value) => (value === null || value === undefined ? Infinity : value);

const ORDERS = {
  trouble: (a, b) =>
    RANK[a.level] - RANK[b.level] ||
    (b.open_alarm?.severity ?? -1) - (a.open_alarm?.severity ?? -1) ||
    (b.events > 0) - (a.events > 0) || // models without events come last
    a.name.localeCompare(b.name),
  quality: (a, b) => last(a.quality?.now) - last(b.quality?.now) || ORDERS.trouble(a, b),
  gain: (a, b) => last(gain(a.quality)) - last(gain(b.quality)) || ORDERS.trouble(a, b),
  lag: (a, b) => last(-(b.lag_records ?? -1)) - last(-(a.lag_records ?? -1)) || ORDERS.trouble(a, b),
};
let order = "trouble";

export const sorted = (models) => [...models].sort(ORDERS[order]);
export const ADDRESS = "#model/"; // in front of the chosen model's name

export function watchSorting(redraw) {
  for (const button of document.querySelectorAll("button[data-sort]")) {
    button.addEventListener("click", () => {
      order = button.dataset.sort;
      redraw();
    });
  }
}

const LONGEST = 100; // characters; the model's own view has all of it
const shortened = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST)} …` : text);

export function drawList(models, selected) {
  for (const button of document.querySelectorAll("button[data-sort]")) {
    const chosen = button.dataset.sort === order;
    if (chosen) button.closest("th").setAttribute("aria-sort", order === "lag" ? "descending" : "ascending");
    else button.closest("th").removeAttribute("aria-sort");
  }
  const rows = sorted(models).map((one) => ({
    name: one.name,
    level: one.level,
    says: shortened(one.troubles.find((trouble) => trouble.level !== "note")?.text ?? ""),
    now: one.quality ? metricValue(one.quality.metric, one.quality.now) : one.events ? "no labels" : "–",
    metric: one.quality ? metricName(one.quality.metric) : "",
    gain: gainWords(one.quality),
    lag: one.lag_records === null ? "–" : count(one.lag_records),
    champion: one.champion_of?.length ? `answers as ${one.champion_of.join(", ")}` : "",
    chosen: one.name === selected,
  }));
  draw(find("models"), rows, () => rows.map(row));
}

function row(one) {
  const link = el(
    "a",
    { href: ADDRESS + encodeURIComponent(one.name), title: one.name, "data-key": one.name, "aria-current": one.chosen ? "true" : null },
    one.name,
  );
  const champion = one.champion ? el("span", { className: "says" }, one.champion) : null;
  const says = one.says ? el("span", { className: `says ${one.level}` }, one.says) : null;
  const level = el("span", { className: "unseen" }, ` ${LEVEL_WORDS[one.level]}. `);
  return el(
    "tr",
    { className: one.chosen ? "chosen" : "" },
    el("th", { scope: "row" }, el("span", { className: `mark ${one.level}` }), link, level, champion, says),
    el("td", { className: "number" }, one.now, one.metric ? el("span", { className: "metric" }, one.metric) : null),
    el("td", { className: "number" }, one.gain),
    el("td", { className: "number" }, one.lag),
  );
}
