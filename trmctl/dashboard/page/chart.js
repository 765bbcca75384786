// Line charts, charts over categories, and stacked bars, as SVG that takes its colours from the page.
// A line is {name, colour, dashed, points: [[x, y], ...]}.

const NS = "http://www.w3.org/2000/svg";
const W = 460, H = 220, LEFT = 52, RIGHT = 10, TOP = 8, BOTTOM = 26;

export function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function written(value, unit) {
  if (value === undefined || value === null || Number.isNaN(value)) return "–";
  if (unit === "ratio") return `${(100 * value).toFixed(Math.abs(value) < 0.1 ? 2 : 1)} %`;
  const scaled = (size, names) => {
    let at = 0, number = value;
    while (Math.abs(number) >= size && at < names.length - 1) { number /= size; at += 1; }
    return `${Number(number.toPrecision(3))} ${names[at]}`.trim();
  };
  if (unit === "bytes") return scaled(1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
  if (unit === "seconds") return span(value);
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  return Math.abs(value) >= 10000 ? scaled(1000, ["", "k", "M", "G"]) : String(Number(value.toPrecision(3)));
}

export function span(seconds) {
  if (seconds < 0.0995) return `${Number((1000 * seconds).toPrecision(3))} ms`;
  if (seconds < 99.5) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds < 5970) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// Round numbers from low to high, about `count` of them.
function ticks(low, high, count, unit = "") {
  if (unit === "bytes") { // round numbers of KiB, MiB or GiB
    const size = 1024 ** Math.floor(Math.log2(Math.max(high, 1)) / 10);
    return ticks(low / size, high / size, count).map((at) => at * size);
  }
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * power >= raw) * power;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(at * step);
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    for (const digit of high - low < 1.5 ? [1, 2, 5] : [1]) found.push(power + Math.log10(digit));
  }
  const inside = found.filter((one) => one >= low - 1e-9 && one <= high + 1e-9);
  return inside.length > 1 ? inside.filter((_, at) => at % Math.ceil(inside.length / 6) === 0) : ticks(low, high, 3);
}

function range(values, log, unit) {
  let low = Math.min(...values), high = Math.max(...values);
  if (unit === "ratio" && !log) { low = Math.min(0, low); high = high > 0.5 ? Math.max(1, high) : high * 1.15 || 1; }
  if (low === high) { const room = Math.abs(low) * 0.1 || 1; low -= room; high += room; }
  return [low, high];
}

export function lineChart(lines, options) {
  const { log = false, unit = "", label, x = (value) => written(value), events = [], diagonal = false } = options;
  const value = (y) => (log ? Math.log10(y) : y);
  const shown = lines.map((line) => ({ ...line, points: line.points.filter(([, y]) => !log || y > 0) }))
    .filter((line) => line.points.length);
  if (!shown.length) return html("div", { class: "none" }, "no numbers yet");
  const all = shown.flatMap((line) => line.points);
  const [left, right] = diagonal ? [0, 1] : range(all.map((point) => point[0]), false, "");
  const [low, high] = diagonal ? [0, 1] : range(all.map((point) => value(point[1])), log, unit);
  const px = (at) => LEFT + (at - left) / (right - left) * (W - LEFT - RIGHT);
  const py = (y) => H - BOTTOM - (value(y) - low) / (high - low) * (H - TOP - BOTTOM);
  const chart = element("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", tabindex: "0" });
  chart.setAttribute("aria-label", `${label}: ` + shown.map((line) => {
    const last = line.points[line.points.length - 1];
    return `${line.name} ${written(last[1], unit)}`;
  }).join(", "));
  for (const at of log ? logTicks(low, high) : ticks(low, high, 4, unit)) {
    const y = H - BOTTOM - (at - low) / (high - low) * (H - TOP - BOTTOM);
    chart.append(element("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y, y2: y }));
    chart.append(element("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, written(log ? 10 ** at : at, unit)));
  }
  for (const at of ticks(left, right, 4)) {
    const anchor = px(at) > W - RIGHT - 16 ? "end" : "middle";
    chart.append(element("text", { x: anchor === "end" ? W - 2 : px(at), y: H - 8, "text-anchor": anchor }, x(at)));
  }
  if (diagonal) chart.append(element("line", { class: "grid dash", x1: px(0), y1: py(0), x2: px(1), y2: py(1) }));
  for (const at of events.filter((one) => one > left && one < right)) {
    chart.append(element("line", { class: "event", x1: px(at), x2: px(at), y1: TOP, y2: H - BOTTOM }));
  }
  for (const line of shown) {
    const d = line.points.map(([at, y], index) => `${index ? "L" : "M"}${px(at).toFixed(1)} ${py(y).toFixed(1)}`);
    chart.append(element("path", { d: d.join(""), stroke: line.colour, ...(line.dashed ? { class: "dash" } : {}) }));
    if (line.points.length < 25) {
      for (const [at, y] of line.points) chart.append(element("circle", { cx: px(at), cy: py(y), r: 2.6, fill: line.colour }));
    }
  }
  return follow(chart, shown, { px, py, unit, x });
}

// Let a pointer, or the arrow keys, read values off; the legend says what is under the line.
function follow(chart, lines, { px, py, unit, x }) {
  const places = [...new Set(lines.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
  const marks = element("g"), legend = html("div", { class: "legend" });
  chart.append(marks);
  const near = (line, at) => line.points.reduce((best, point) =>
    Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best);
  let index = places.length - 1;
  const show = (at) => {
    marks.replaceChildren();
    if (at !== null) marks.append(element("line", { class: "hair", x1: px(at), x2: px(at), y1: TOP, y2: H - BOTTOM }));
    legend.replaceChildren(...lines.map((line) => {
      const point = at === null ? line.points[line.points.length - 1] : near(line, at);
      if (at !== null) marks.append(element("circle", { cx: px(point[0]), cy: py(point[1]), r: 3.5, fill: line.colour }));
      const stroke = { x1: 0, x2: 22, y1: 4, y2: 4, stroke: line.colour, "stroke-width": 3 };
      if (line.dashed) stroke["stroke-dasharray"] = "5 4";
      return html("span", {}, element("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" }, element("line", stroke)),
        `${line.name} ${written(point[1], unit)}`);
    }), ...(at === null ? [] : [html("span", {}, `at ${x(at)}`)]));
  };
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * W;
    index = places.reduce((best, one, i) => Math.abs(px(one) - at) < Math.abs(px(places[best]) - at) ? i : best, 0);
    show(places[index]);
  });
  chart.addEventListener("pointerleave", () => show(null));
  chart.addEventListener("blur", () => show(null));
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -places.length, End: places.length }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    index = Math.max(0, Math.min(places.length - 1, index + step));
    show(places[index]);
  });
  show(null);
  return html("div", {}, chart, legend);
}

// One bar a run, of named parts.
export function stackedBars(bars, { label, unit }) {
  const longest = Math.max(...bars.map((bar) => bar.parts.reduce((sum, part) => sum + part.value, 0)));
  if (!bars.length || !(longest > 0)) return html("div", { class: "none" }, "no numbers yet");
  const height = 44 * bars.length + 4, chart = element("svg",
    { class: "chart", viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": label });
  bars.forEach((bar, row) => {
    let at = 0;
    const total = bar.parts.reduce((sum, part) => sum + part.value, 0);
    chart.append(element("text", { x: 0, y: 44 * row + 12 }, `${bar.name}: ${written(total, unit)}`));
    for (const part of bar.parts) {
      const width = part.value / longest * W;
      chart.append(element("rect", { x: at, y: 44 * row + 18, width, height: 18, fill: part.colour },
        element("title", {}, `${part.name} ${written(part.value, unit)}`)));
      at += width;
    }
  });
  const parts = bars[0].parts.filter((part) => bars.some((bar) => bar.parts.find((one) => one.name === part.name).value > 0));
  const legend = html("div", { class: "legend" }, ...parts.map((part) => html("span", {},
    element("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" }, element("rect", { width: 22, height: 8, fill: part.colour })),
    `${part.name}${bars.length === 1 ? ` ${written(part.value, unit)}` : ""}`)));
  return html("div", {}, chart, legend);
}
