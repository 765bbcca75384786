// Rows of puzzles: the question, what the model answered, and what is right. Wrong cells are framed.

import { element, html } from "./chart.js";

const ARC = ["#111111", "#1e78d2", "#e53a2f", "#3fae49", "#f6c945", "#9a9a9a", "#e346a5", "#f58231", "#86cdf0", "#8a1e3c"];
const MAZE = ["#ffffff", "#2b2b2b", "#ffffff", "#3fae49", "#e53a2f", "#7fb2ec"];
const BOXES = { 4: [2, 2], 6: [2, 3], 9: [3, 3] };

function cells(grid, kind, label, { truth = null, given = null } = {}) {
  const height = grid.length, width = grid[0]?.length ?? 0;
  const drawn = element("svg", { class: "cells", viewBox: `-.05 -.05 ${width + 0.1} ${height + 0.1}`, role: "img", "aria-label": label });
  const digits = kind === "sudoku", palette = kind === "maze" ? MAZE : ARC;
  grid.forEach((row, y) => row.forEach((value, x) => {
    if (!digits) drawn.append(element("rect", { x, y, width: 1, height: 1, fill: palette[value % palette.length] }));
    else if (value) {
      const text = element("text", { x: x + 0.5, y: y + 0.72 }, String(value));
      if (given?.[y]?.[x]) text.setAttribute("class", "given");
      drawn.append(text);
    }
  }));
  const [high, wide] = digits ? BOXES[height] ?? [height, width] : [height, width];
  const line = (step, end) => Array.from({ length: Math.floor(end / step) + 1 }, (_, at) => at * step);
  drawn.append(element("path", { class: "thin", d: line(1, height).map((y) => `M0 ${y}h${width}`).join("") + line(1, width).map((x) => `M${x} 0v${height}`).join("") }));
  drawn.append(element("path", { class: "thick", d: line(high, height).map((y) => `M0 ${y}h${width}`).join("") + line(wide, width).map((x) => `M${x} 0v${height}`).join("") }));
  if (truth && truth.length === height && truth[0].length === width) {
    grid.forEach((row, y) => row.forEach((value, x) => {
      if (value !== truth[y][x]) drawn.append(element("rect", { class: "wrong", x: x + 0.1, y: y + 0.1, width: 0.8, height: 0.8 }));
    }));
  }
  return drawn;
}

function words(row) {
  const style = row.exact ? "right" : "off";
  return html("div", { class: "row text" }, html("p", {}, row.question),
    html("p", { class: style }, `${row.exact ? "answer, right" : "answer, wrong"}: ${row.prediction}`),
    ...(row.exact ? [] : [html("p", {}, `truth: ${row.truth}`)]));
}

export function samples(run, name) {
  const text = run.samples.kind === "text";
  const rows = run.samples.rows.map((row) => {
    if (text) return words(row);
    const figure = (grid, text, style, more) => html("figure", {}, cells(grid, run.samples.kind, text, more),
      html("figcaption", { class: style }, text));
    return html("div", { class: "row" }, figure(row.question, "question", ""),
      figure(row.prediction, row.exact ? "answer: right" : "answer: wrong", row.exact ? "right" : "off",
        { truth: row.truth, given: row.question }),
      figure(row.truth, "truth", "", { given: row.question }));
  });
  const right = run.samples.rows.filter((row) => row.exact).length;
  return html("article", { class: "card" }, html("h2", {}, `${name}: test ${text ? "items" : "rows"} after update ${run.samples.step}`),
    html("p", {}, `${right} of ${run.samples.rows.length} right${text ? "" : "; wrong cells are framed"}`), html("div", { class: "rows" }, ...rows));
}
