// The page polls the service, shows what it returns, and shows a banner when the service does not respond.

import * as api from "./api.js";
import { watchWindow } from "./chart.js";
import { ages, find, say } from "./dom.js";
import { peek } from "./letters.js";
import { ADDRESS, drawList, LEVEL_WORDS, sorted, watchSorting } from "./list.js";
import { drawModel } from "./model.js";
import { confirmRollback, doIt, unlock, watchDialogs } from "./versions.js";
import { alarmSentence, clock, count, setClock } from "./words.js";

const EVERY = 1500; // milliseconds
const known = new Map(); // by model, the number of the newest alarm that was announced
let service = null;
let model = null;
let lostAt = null;
let timer = 0;
let asking = false;
let locked = false; // whether a token was asked for, for reading, and not given

/** The model that the address names. */
function wanted() {
  try {
    return decodeURIComponent(location.hash.slice(ADDRESS.length));
  } catch {
    return "";
  }
}

/** The model that the address names, else the one with the most severe problem. */
function selected() {
  const name = wanted();
  if (service.models.some((one) => one.name === name)) return name;
  const shown = model && service.models.find((one) => one.name === model.name);
  return shown?.events ? shown.name : sorted(service.models)[0]?.name;
}

async function look() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    const found = await api.models();
    setClock(found.time);
    service = found;
    const name = selected();
    // the address always names the model: it can be shared, and the page does not jump when another model has a problem
    const begun = service.models.find((one) => one.name === name)?.events; // until then, another model may have more to show
    if (begun && name !== wanted()) history.replaceState(null, "", ADDRESS + encodeURIComponent(name));
    model = name === undefined ? null : await api.model(name);
    connected();
    tellNews();
    show();
  } catch (error) {
    disconnected(error);
    if (error instanceof api.Refused && error.status === 401 && !locked) {
      const known = api.token.get();
      api.token.forget();
      locked = !(await unlock(known ? "The token was not accepted." : "Reading takes a token here. It is stored in this tab until you close the tab."));
    }
  } finally {
    asking = false;
    const other = service && model && selected() !== model.name; // another was chosen meanwhile
    if (!document.hidden) timer = setTimeout(look, other ? 0 : EVERY);
  }
}

function show() {
  if (!service) return;
  const name = selected();
  drawList(service.models, name);
  drawService();
  document.body.dataset.shown = model ? model.name : ""; // first: a hidden element has no width to draw in
  if (model) drawModel(model, service, show);
}

function drawService() {
  const levels = { bad: 0, watch: 0, well: 0 };
  for (const one of service.models) levels[one.level] += 1;
  const words = Object.entries(levels).filter(([, number]) => number);
  say(find("overall"), words.map(([level, number]) => `${number} ${LEVEL_WORDS[level]}`).join(" · "));
  document.title = `${levels.bad ? `(${levels.bad}) ` : ""}${model ? `${model.name} · ` : ""}Thalweg`;
  const roles = Object.entries(service.processes).map(([role, one]) => {
    const restarts = one.restarts ? `, ${count(one.restarts)} restart${one.restarts === 1 ? "" : "s"}` : "";
    return one.up ? `${role} up since ${clock(one.started)}${restarts}` : `${role} down${restarts}`;
  });
  const more = [service.draining ? "draining" : null, ...service.degraded].filter(Boolean);
  say(find("service"), [`Thalweg ${service.version}`, ...roles, ...more].join(" · "));
}

/** Announce new alarms of every model to screen readers. */
function tellNews() {
  const fresh = [];
  for (const one of service.models) {
    const number = one.last_alarm?.number ?? 0;
    if (number > (known.get(one.name) ?? number)) fresh.push(`${one.name}: ${alarmSentence(one.last_alarm)}`);
    known.set(one.name, number);
  }
  if (fresh.length) say(find("news"), `New alarm. ${fresh.join(" ")}`);
}

function connected() {
  if (lostAt !== null) say(find("news"), "Reconnected.");
  lostAt = null;
  find("banner").hidden = true;
  document.body.dataset.connection = "live";
  say(find("connection"), "live");
}

function disconnected(error) {
  if (error instanceof api.Refused && error.status === 404 && model) {
    model = null; // the model is gone: the next poll chooses another
    return;
  }
  lostAt ??= Date.now() / 1000;
  const why = error instanceof api.Refused ? ` (${error.message})` : "";
  const figures = service ? "; showing the last values" : "";
  say(find("banner"), `Disconnected since ${clock(lostAt, true)}${figures}${why}. Retrying.`);
  find("banner").hidden = false;
  document.body.dataset.connection = "lost";
  say(find("connection"), "disconnected");
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment names the model
  find("model").focus();
});
watchSorting(show);
watchDialogs();
watchWindow(show);
addEventListener("hashchange", async () => {
  show();
  clearTimeout(timer);
  await look();
  find("model").focus({ preventScroll: false });
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
find("snapshot").addEventListener("click", () => model && doIt(model, "snapshot", null, show).then(look));
find("versions").addEventListener("click", async (event) => {
  const version = Number(event.target.dataset?.version ?? Number.NaN);
  if (Number.isNaN(version) || !model || !(await confirmRollback(model, version))) return;
  await doIt(model, "rollback", { version }, show);
  await look();
});
find("peek").addEventListener("click", () => model && peek(model.name, Boolean(service.read_only), unlock));
setInterval(ages, 1000);
look();
