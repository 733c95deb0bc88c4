// Aliases: which of their models answers, how the others compare, and the promotion of one of them.

import { promote } from "./api.js";
import { draw, el, find, say } from "./dom.js";
import { asked, attempt } from "./versions.js";
import { clock, count, short } from "./words.js";

const CAUSES = { promoted: "promoted by an operator", back: "an operator went back to it", configured: "as configured", tested: "promoted by the test" };
let of = "";

export function drawChampions(model, service, redraw) {
  const mine = service.aliases.filter((one) => one.models.includes(model.name));
  find("champions-section").hidden = !mine.length;
  if (of !== model.name) {
    of = model.name;
    say(find("champions-result"), "");
  }
  draw(find("champions"), [mine, service.read_only], () => mine.map((one) => alias(one, service.read_only, redraw)));
}

function alias(one, readOnly, redraw) {
  return el(
    "div",
    {},
    el("p", {}, el("strong", {}, one.name), `: ${champion(one)}`, ...notes(one).map((text) => ` ${text}`)),
    el(
      "div",
      { className: "scroll" },
      el(
        "table",
        { className: "plain versions" },
        el("caption", { className: "unseen" }, `Models of the alias ${one.name}`),
        el("thead", {}, el("tr", {}, ["Model", "Events compared", "Loss against the champion", "Evidence", ""].map((text) => el("th", { scope: "col" }, text || el("span", { className: "unseen" }, "Promote"))))),
        el("tbody", {}, one.models.map((name) => row(one, name, readOnly, redraw))),
      ),
    ),
  );
}

function champion(one) {
  const since = one.promotion && one.promoted ? ` since ${clock(one.promoted)}` : "";
  const why = one.promotion ? `, ${CAUSES[one.cause] ?? one.cause}` : "";
  return `${one.champion} answers${since}${why}.`;
}

function notes({ auto, comparison }) {
  if (!comparison) return [auto ? "The comparison has not begun." : "Promotions are made by hand."];
  const left = Object.entries(comparison.left_out).map(([name, why]) => `${name} is not compared: ${why}.`);
  return [comparison.waits && `The comparison waits: ${comparison.waits}.`, comparison.held && `No promotion by the test: ${comparison.held}.`, ...left].filter(Boolean);
}

function row(one, name, readOnly, redraw) {
  const test = one.comparison?.challengers.find((challenger) => challenger.model === name);
  const answers = name === one.champion;
  const button = el(
    "button",
    { type: "button", disabled: Boolean(readOnly), "aria-label": `Promote ${name} to champion of ${one.name}`, "aria-describedby": readOnly ? "act-note" : null, "data-key": `promote-${one.name}-${name}` },
    "Promote",
  );
  button.addEventListener("click", async () => {
    if (!(await confirmed(one, name))) return;
    await attempt(find("champions-result"), "Promoting …", () => promote(one.name, name), () => `${name} answers as ${one.name}.`, redraw);
  });
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, name, answers ? el("span", { className: "quiet" }, " champion") : null),
    el("td", {}, test ? count(test.compared_events) : "–"),
    el("td", {}, test?.test_events ? signed(-test.loss_difference) : "–"),
    el("td", { title: "Evidence that it is better: at 100 % the test promotes it" }, test ? `${Math.round(100 * test.evidence)}\u00a0%` : "–"),
    el("td", {}, answers ? null : button),
  );
}

const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${short(Math.abs(value))}`;

function confirmed(one, name) {
  return asked(find("confirm"), () => {
    say(find("confirm-yes"), "Promote");
    say(find("confirm-title"), `Promote ${name} to champion of ${one.name}?`);
    say(find("confirm-text"), `Requests to ${one.name} are then answered by ${name} in place of ${one.champion}. No request is refused, and going back is one click: promote ${one.champion} again.`);
  });
}
