// The page: which runs are shown, and what is drawn of them. It asks its own server every few seconds.

import { html, lineChart, span, stackedBars, written } from "./chart.js";
import { samples } from "./grids.js";

const MOST = 6; // runs at once: as many as there are colours
const place = (id) => document.getElementById(id);
const view = { panels: [], every: 3, runs: [], chosen: null, data: new Map(), overTime: false, held: false, logs: new Map() };

async function ask(path) {
  const answer = await fetch(path);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error ?? answer.statusText);
  return found;
}

const identity = (run) => `${run.source} ${run.key}`;
const name = (run) => (run.source === "local" ? run.key : `${run.key} (Prometheus)`);
const colour = (run) => `var(--c${view.chosen.indexOf(identity(run)) % MOST})`;

function say(text, bad = false) {
  const news = place("news");
  if (news.textContent !== text) news.textContent = text;
  news.classList.toggle("bad", bad);
}

async function refresh() {
  try {
    const listed = await ask("api/runs");
    view.runs = listed.runs;
    const known = view.runs.map(identity);
    view.chosen = (view.chosen ?? remembered() ?? known.slice(0, 1)).filter((one) => known.includes(one));
    if (!view.chosen.length) view.chosen = known.slice(0, 1);
    const shown = view.runs.filter((run) => view.chosen.includes(identity(run)));
    const found = await Promise.all(shown.map((run) =>
      ask(`api/run?source=${encodeURIComponent(run.source)}&key=${encodeURIComponent(run.key)}`)));
    view.data = new Map(found.map((run) => [identity(run), run]));
    draw({ forced: false });
    if (listed.errors.length) return say(listed.errors.join("; "), true);
    say(view.runs.length ? `${view.runs.length} ${view.runs.length === 1 ? "run" : "runs; click to overlay them"}; seen ${new Date().toLocaleTimeString()}` : "no runs here yet; trmctl run -c RUN.yaml makes one");
  } catch (error) {
    say(`not refreshed: ${error.message}`, true);
  }
}

function remembered() {
  const chosen = new URLSearchParams(location.hash.slice(1)).getAll("run");
  return chosen.length ? chosen : null;
}

function choose(run) {
  const one = identity(run);
  view.chosen = view.chosen.includes(one) ? view.chosen.filter((other) => other !== one) : [...view.chosen, one].slice(-MOST);
  history.replaceState(null, "", `#${new URLSearchParams(view.chosen.map((chosen) => ["run", chosen]))}`);
  refresh();
}

// What somebody is reading values off stays as it is until they are done, unless they asked for another view.
function draw({ forced = true } = {}) {
  if (!forced && document.querySelector("svg.chart:hover, svg.chart:focus")) return;
  const focused = document.activeElement?.dataset?.key;
  const shown = view.chosen.map((one) => view.data.get(one)).filter(Boolean);
  place("runs").replaceChildren(...view.runs.slice(0, 60).map((run) => listed(run)));
  place("tiles").replaceChildren(...shown.map((run) => tile(run, differences(shown))));
  place("panels").replaceChildren(...view.panels.map((panel) => card(panel, shown)));
  place("samples").replaceChildren(...shown.filter((run) => run.samples?.rows?.length).map((run) => samples(run, name(run))));
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function listed(run) {
  const chosen = view.chosen.includes(identity(run));
  const dot = html("span", { class: "dot" }), button = html("button",
    { type: "button", "aria-pressed": String(chosen), "data-key": `run ${identity(run)}` }, dot, name(run));
  if (chosen) { button.style.setProperty("--mark", colour(run)); dot.style.background = colour(run); }
  button.addEventListener("click", () => choose(run));
  return html("li", {}, button);
}

// The keys of the run files in which the runs shown differ.
function differences(shown) {
  const known = shown.filter((run) => Object.keys(run.settings).length);
  const keys = [...new Set(known.flatMap((run) => Object.keys(run.settings)))];
  return keys.filter((key) => known.some((run) => run.settings[key] !== known[0].settings[key]));
}

function tile(run, keys) {
  const fact = (text, value) => html("div", {}, html("span", {}, text), html("b", {}, value));
  const bar = html("div", { class: "bar", role: "progressbar", "aria-label": "progress", "aria-valuenow": String(Math.round(100 * run.step / (run.total || 1))) }, html("i"));
  bar.firstChild.style.width = `${100 * run.step / (run.total || 1)}%`;
  const made = html("article", { class: "tile" }, html("div", { class: "name" }, html("span", {}, run.state), html("b", {}, name(run))),
    fact("update", run.total ? `${run.step} of ${run.total}` : String(run.step)),
    fact("best", run.best === null ? "–" : written(run.best, "ratio")),
    fact("time left", run.left_seconds ? span(run.left_seconds) : "–"),
    fact("an update", written(Object.values(run.phases).reduce((sum, one) => sum + one, 0) || null, "seconds")),
    fact("starts", String(run.events.filter(([kind]) => kind === "start").length)),
    ...keys.slice(0, 4).map((key) => fact(key, run.settings[key] ?? "–")), bar);
  made.style.setProperty("--mark", colour(run));
  return made;
}

function card(panel, shown) {
  const made = html("article", { class: "card" }), head = html("div", { class: "head" }, html("h2", {}, panel.title));
  if (panel.log) {
    const log = view.logs.get(panel.title) ?? true;
    const button = html("button", { type: "button", "aria-pressed": String(log), "data-key": `log ${panel.title}` }, "log");
    button.addEventListener("click", () => { view.logs.set(panel.title, !log); draw(); });
    head.append(button);
  }
  made.append(head, html("p", {}, panel.about), drawing(panel, shown));
  const chart = made.querySelector("svg.chart[tabindex]");
  if (chart) chart.dataset.key = `chart ${panel.title}`;
  return made;
}

function drawing(panel, shown) {
  const several = shown.length > 1, log = panel.log && (view.logs.get(panel.title) ?? true);
  const look = (run, index) => ({ colour: several ? colour(run) : `var(--c${index})`, dashed: several && index > 0 });
  const label = (run, curve) => (several ? `${name(run).split("/").pop()} ${curve}` : curve);
  if (panel.kind === "phases") {
    const bars = shown.filter((run) => Object.keys(run.phases).length).map((run) => ({ name: name(run),
      parts: Object.entries(run.phases).map(([phase, value], index) => ({ name: phase, value, colour: `var(--p${index})` })) }));
    return stackedBars(bars, { label: panel.title, unit: panel.unit });
  }
  if (panel.kind === "bins") {
    const lines = shown.map((run) => {
      const [predicted, observed] = panel.curves.map(([, key]) => new Map(run.lists[key] ?? []));
      const points = [...predicted].filter(([bin]) => observed.has(bin)).map(([bin, x]) => [x, observed.get(bin)]);
      return { name: label(run, "right"), ...look(run, 0), points };
    });
    return lineChart(lines, { unit: panel.unit, label: panel.title, x: (value) => written(value, "ratio"), diagonal: true });
  }
  const lines = shown.flatMap((run) => panel.curves.map(([curve, key], index) => ({ name: label(run, curve), ...look(run, index),
    points: panel.kind === "depth" ? (run.lists[key] ?? []).map(([depth, value]) => [Number(depth), value])
      : (run.curves[key] ?? []).map(([step, time, value]) => [view.overTime ? time : step, value]) })));
  const events = panel.kind === "lines" ? shown.flatMap((run) => run.events.filter(([kind]) => kind === "start")
    .map(([, step, time]) => (view.overTime ? time : step))) : [];
  const clock = (value) => new Date(1000 * value).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const x = panel.kind === "lines" && view.overTime ? clock : (value) => written(value);
  return lineChart(lines, { log, unit: panel.unit, label: panel.title, x, events });
}

function toggle(id, flip) {
  place(id).addEventListener("click", () => place(id).setAttribute("aria-pressed", String(flip())));
}

toggle("axis", () => { view.overTime = !view.overTime; draw(); return view.overTime; });
toggle("hold", () => { view.held = !view.held; if (!view.held) refresh(); return view.held; });
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = (theme) => { document.documentElement.dataset.theme = theme; };
paint(new URLSearchParams(location.search).get("theme") ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => paint(dark.matches ? "dark" : "light"));
place("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
document.addEventListener("keydown", (event) => {
  const id = { t: "axis", d: "theme", " ": "hold" }[event.key];
  const busy = event.target instanceof HTMLButtonElement && event.key === " ";
  if (!id || busy || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  place(id).click();
});

const start = await ask("api/panels");
[view.panels, view.every] = [start.panels, start.every];
await refresh();
setInterval(() => { if (!view.held && !document.hidden) refresh(); }, 1000 * view.every);
