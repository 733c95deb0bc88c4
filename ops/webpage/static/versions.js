// Snapshots, and the two actions of an operator: save a snapshot, roll back to one.

import { Refused, act, token } from "./api.js";
import { draw, el, find, moment, say } from "./dom.js";
import { ago, bytes, clock, count, gainWords, metricName, metricValue } from "./words.js";

const FIRST = 6;
let all = false; // whether the older ones are shown, too …
let of = ""; // … of this model
let busy = false;

export function drawVersions(model, readOnly, redraw) {
  if (of !== model.name) {
    [of, all] = [model.name, false];
    if (!busy) say(find("act-result"), "");
  }
  const versions = [...model.snapshots].reverse();
  const shown = all ? versions : versions.slice(0, FIRST);
  const metric = model.quality?.metric ?? "accuracy";
  const locked = readOnly || busy;
  const snapshot = find("snapshot");
  snapshot.disabled = Boolean(locked);
  const note = find("act-note");
  note.hidden = !readOnly;
  say(note, readOnly ? `Saving and rolling back are disabled: ${readOnly}.` : "");
  if (readOnly) snapshot.setAttribute("aria-describedby", "act-note");
  else snapshot.removeAttribute("aria-describedby");
  draw(find("versions"), [model.name, shown, versions.length, metric, model.quality?.now, model.learned_events, locked], () => {
    if (!shown.length) return el("p", { className: "quiet" }, "No snapshots yet.");
    const now = model.quality?.now ?? null;
    const heads = ["Version", "Saved", "Events learned", `Recent ${metricName(metric)} then`, "Against now", "Size", ""];
    const more = versions.length - shown.length;
    const button = el("button", { type: "button", "data-key": "more-versions" }, `Show ${more} older`);
    button.addEventListener("click", () => {
      all = true;
      redraw();
    });
    return [
      el(
        "div",
        { className: "scroll" },
        el(
          "table",
          { className: "plain versions" },
          el("caption", { className: "unseen" }, "Snapshots, the newest first"),
          el("thead", {}, el("tr", {}, heads.map((text) => el("th", { scope: "col" }, text || el("span", { className: "unseen" }, "Roll back"))))),
          el("tbody", {}, shown.map((one) => row(one, metric, now, model, locked))),
        ),
      ),
      more > 0 ? button : null,
    ];
  });
}

/** The metric of the recent window when the version was saved; of versions that did not keep it, null. */
const recentOf = (one, metric) => one.recent?.[metric] ?? null;

/** What a rollback to it would change: the recent metric then against now. */
function difference(then, metric, now, higherIsBetter) {
  return gainWords({ metric, now: then, frozen: now, higher_is_better: higherIsBetter });
}

function row(one, metric, now, model, locked) {
  const then = recentOf(one, metric);
  const back = el(
    "button",
    {
      type: "button",
      disabled: Boolean(locked),
      "aria-label": `Roll back to version ${one.version}`,
      "aria-describedby": locked ? "act-note" : null,
      "data-key": `back-${one.version}`,
      "data-version": String(one.version),
    },
    "Roll back",
  );
  const origin = one.rolled_back_to === null ? null : el("span", { className: "quiet" }, ` ↺ rolled back to ${count(one.rolled_back_to)}`);
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, count(one.version), origin),
    el("td", {}, el("span", { className: "wide" }, `${clock(one.created)}, `), moment(one.created, ago)),
    el("td", {}, count(one.learned_events)),
    el("td", {}, metricValue(metric, then)),
    el("td", { title: "Recent metric then, minus now: what a rollback would regain" }, difference(then, metric, now, model.quality?.higher_is_better ?? true)),
    el("td", {}, bytes(one.size_bytes)),
    el("td", {}, back),
  );
}

/** Show a dialog; resolves to whether the answer was yes. */
export function asked(dialog, prepare) {
  return new Promise((resolve) => {
    dialog.returnValue = "no";
    prepare?.();
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
}

export async function unlock(reason = "The token is stored in this tab until you close the tab.") {
  const field = find("token-field");
  const given = await asked(find("token"), () => {
    field.value = "";
    say(find("token-text"), reason);
  });
  const text = field.value.trim();
  field.value = "";
  if (!given || !text) return false;
  token.keep(text);
  return true;
}

export function confirmRollback(model, version) {
  const one = model.snapshots.find((kept) => kept.version === version);
  const metric = model.quality?.metric ?? "accuracy";
  const then = one ? recentOf(one, metric) : null;
  const level = then === null ? "" : `Its recent ${metricName(metric)} was ${metricValue(metric, then)}; now it is ${metricValue(metric, model.quality?.now ?? null)}. `;
  const lost = Math.max(0, (model.learned_events ?? 0) - (one?.learned_events ?? 0));
  const untrained = one?.learned_events === 0 && (model.learned_events ?? 0) > 0 ? "It has learned nothing: requests may be refused until labelled events come. " : "";
  return asked(find("confirm"), () => {
    say(find("confirm-yes"), "Roll back");
    say(find("confirm-title"), `Roll ${model.name} back to version ${count(version)}?`);
    say(
      find("confirm-text"),
      `The snapshot was saved ${one ? `at ${clock(one.created)}` : "earlier"}. ${untrained}${level}The model discards what it learned from the ` +
        `${count(lost)} events since then and continues from its current position in the stream. The present version is saved first, and existing snapshots are kept.`,
    );
  });
}

/** Run an action and show its result; a token that is not accepted is asked for again. */
export async function attempt(result, working, action, told, redraw) {
  if (!token.get() && !(await unlock())) return;
  result.className = "result";
  say(result, working);
  busy = true;
  redraw();
  try {
    say(result, told(await action()));
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      token.forget();
      say(result, "");
      busy = false;
      if (await unlock("The token was not accepted.")) return attempt(result, working, action, told, redraw);
    } else {
      result.className = "result failed";
      say(result, `Failed: ${error.message}`);
    }
  } finally {
    busy = false;
    redraw();
  }
}

/** Save a snapshot, or roll back to one. */
export function doIt(model, verb, body, redraw) {
  const saves = verb === "snapshot";
  const told = (done) =>
    saves
      ? `Saved as version ${count(done.version)}.`
      : `Rolled back to version ${count(body.version)}; the new version is ${count(done.version)}.`;
  return attempt(find("act-result"), saves ? "Saving …" : "Rolling back …", () => act(model.name, verb, body), told, redraw);
}

export function watchDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      const answer = event.target.dataset?.answer;
      if (answer === "no" || (answer === "yes" && event.target.type === "button")) dialog.close(answer);
    });
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close("yes");
    });
  }
}
