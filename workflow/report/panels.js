"use strict";
// Panels of the page of all results: which cells make one, its legend, its chart and the numbers behind it.

const MOST_PANELS = 12;
const COMPARE = {
  "growth and method": ["method", "growth", "settings"],
  init: ["init"], density: ["density"], protocol: ["protocol"], settings: ["settings"],
  "all configurations": ["protocol", "method", "density", "init", "growth", "settings"],
};
const hidden = new Set();
let panelsShown = MOST_PANELS;

// Panels, each with its cells. A method without init or without growth belongs to every panel of its block,
// as a dense network beside sparse ones does.
function panelsOf(cells, compared) {
  const axes = AXES.filter((axis) => !compared.includes(axis));
  const free = (cell) => (axes.includes("init") && cell.at[AT.init] === DATA.not_read ? ["init", "density"]
    : axes.includes("growth") && cell.at[AT.growth] === DATA.not_read ? ["growth"] : []);
  const key = (cell, but = []) => JSON.stringify(axes.filter((axis) => !but.includes(axis)).map((axis) => cell.at[AT[axis]]));
  const panels = new Map();
  for (const cell of cells.filter((one) => !free(one).length)) {
    if (!panels.has(key(cell))) panels.set(key(cell), { cells: [], first: cell });
    panels.get(key(cell)).cells.push(cell);
  }
  for (const cell of cells.filter((one) => free(one).length)) {
    const but = free(cell), near = [...panels.values()].filter(({ first }) => key(first, but) === key(cell, but));
    if (near.length) for (const panel of near) panel.cells.push(cell);
    else panels.set(key(cell), { cells: [cell], first: cell });
  }
  const rank = (panel) => axes.map((axis) => VALUES[axis].indexOf(panel.first.at[AT[axis]]));
  const order = (a, b) => { const [one, two] = [rank(a), rank(b)], k = one.findIndex((value, place) => value !== two[place]); return k < 0 ? 0 : one[k] - two[k]; };
  return [axes, [...panels.values()].sort(order)];
}

const varying = (cells, axes) => axes.filter((axis) => new Set(cells.map((cell) => cell.at[AT[axis]])).size > 1);
const words = (cell, axes) => axes.map((axis) => [axis, cell.at[AT[axis]]]).filter(([, value]) => value !== "").map(([axis, value]) => inWords(axis, value));
const labelOf = (cell, axes) => {
  const axis = axes.length === 1 && axes[0];
  return axis === "growth" ? cell.at[AT.growth] : words(cell, axes.filter((name) => !(name === "growth" && cell.at[AT.growth] === DATA.not_read))).join(" · ") || "as usual";
};

// The curve of one run, from its matrix.
function curveOfRun(run, measure) {
  const matrix = matrixOf(run), points = [];
  for (let after = 1; after < matrix.length; after++) {
    const row = measure === "new" ? [matrix[after][after - 1]] : matrix[after].slice(0, after);
    if (row.some((value) => value === null || value === undefined)) break;
    points.push([after, row.reduce((a, b) => a + b, 0) / row.length]);
  }
  return points;
}

function lineOf(cell, label, look, measure, withPaper) {
  const paper = withPaper && cell.paper !== null ? DATA.paper[cell.paper] : null;
  const last = cell.seen.at(-1)?.[0] ?? cell.tasks;
  return {
    cell, label, look, paper: measure === "seen" ? paper : null,
    printed: paper?.points.find(([task]) => task === last)?.[1] ?? null,
    curve: measure === "end" ? [] : cell[measure], end: cell.end,
    seeds: measure === "end" ? [] : cell.runs.map((run) => [DATA.runs[run][RUN.seed], curveOfRun(run, measure)]),
    ends: cell.runs.map((run) => DATA.runs[run][RUN.acc]),
  };
}

function showPanels(cells) {
  const measure = byId("measure").value, compared = COMPARE[byId("compare").value];
  const [axes, panels] = panelsOf(cells, compared);
  const lineAxes = compared.filter((axis) => axis === "growth" || varying(cells, [axis]).length), titleAxes = varying(panels.map((panel) => panel.first), axes);
  const labels = [...new Set(DATA.cells.filter((cell) => BLOCK.every((axis, k) => !chosen[axis].size || chosen[axis].has(cell.at[k]))).map((cell) => labelOf(cell, lineAxes)))];
  const look = looks(labels), there = new Set();
  for (const [place, panel] of panels.entries()) panel.lines = panel.cells.map((cell) => {
    const label = labelOf(cell, lineAxes);
    if (place < panelsShown) there.add(label);
    return lineOf(cell, label, look.get(label), measure, byId("paper").checked);
  });
  const common = cells.length ? words(panels[0].first, axes.filter((axis) => !titleAxes.includes(axis))).join(" · ") : "";
  byId("common").textContent = cells.length ? (common ? `All panels: ${common}.` : "") : "No configuration matches these filters.";
  showLegend(labels.filter((label) => there.has(label)), look, panels.slice(0, panelsShown));
  const place = byId("panels");
  place.replaceChildren();
  for (const panel of panels.slice(0, panelsShown)) place.append(panelNode(panel, panels, titleAxes, measure));
  for (const node of place.children) node.draw();
  const rest = panels.length - panelsShown, button = element("button", { type: "button" }, `show ${Math.min(rest, MOST_PANELS)} more of ${rest} panels`);
  button.onclick = () => { panelsShown += MOST_PANELS; update(); };
  byId("more").replaceChildren(...(rest > 0 ? [button] : []));
}

function swatch(look, hollow) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("width", 30); svg.setAttribute("height", 12); svg.setAttribute("aria-hidden", "true");
  const line = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
  line.setAttribute("d", "M0 6H30"); line.setAttribute("stroke", look.color); line.setAttribute("stroke-width", 2);
  line.setAttribute("stroke-dasharray", hollow ? "2 3" : look.dash.join(" "));
  const sign = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
  sign.setAttribute("d", SIGNS[look.shape] ?? SIGNS.circle); sign.setAttribute("fill", hollow ? css("--page") : look.color); sign.setAttribute("stroke", look.color);
  return svg;
}
const SIGNS = {
  circle: "M18.2 6a3.2 3.2 0 1 1-6.4 0a3.2 3.2 0 1 1 6.4 0Z", square: "M12 3h6v6h-6Z", diamond: "M15 1.6L18.4 6L15 10.4L11.6 6Z",
  "triangle-up": "M15 2L18.8 9H11.2Z", "triangle-down": "M15 10L18.8 3H11.2Z", "triangle-left": "M11 6L18 2.2V9.8Z", "triangle-right": "M19 6L12 2.2V9.8Z",
  cross: "M13.8 2.4h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4v-2.4h2.4Z",
};

function showLegend(labels, look, panels) {
  byId("legend").replaceChildren(...labels.map((label) => {
    const button = element("button", { type: "button", "aria-pressed": String(!hidden.has(label)) }, swatch(look.get(label)), " ", inWords("growth", label));
    button.onclick = () => { hidden[hidden.has(label) ? "delete" : "add"](label); update(); };
    return element("li", {}, button);
  }), ...(panels.some((panel) => panel.lines.some((line) => line.paper || line.printed !== null))
    ? [element("li", { class: "quiet" }, swatch({ color: css("--quiet"), shape: "circle" }, true), " the paper's")] : []));
}

function panelNode(panel, panels, titleAxes, measure) {
  const lines = panel.lines.filter((line) => !hidden.has(line.label));
  const curved = lines.filter((line) => line.curve.length), ends = !curved.some((line) => line.curve.length > 1);
  const block = panels.filter(({ first }) => ["study", "data", "protocol"].every((axis) => first.at[AT[axis]] === panel.first.at[AT[axis]]));
  const all = block.flatMap((one) => one.lines).filter((line) => !hidden.has(line.label));
  const values = ends ? all.flatMap((line) => [...line.ends, line.printed]) : all.flatMap((line) => [...line.curve.map((p) => p[1]), ...(line.paper?.points ?? []).filter(([t]) => t <= (line.curve.at(-1)?.[0] ?? 0)).map((p) => p[1])]);
  const limits = limitsOf(values.filter((value) => value !== null), byId("whole").checked);
  const title = words(panel.first, titleAxes).join(" · ") || "all";
  const chart = element("div", { class: "chart", tabindex: "0", role: "img" });
  const figure = element("figure", { class: "panel" }, element("figcaption", {}, title), chart, numbers(lines, measure, ends));
  if (!curved.length && measure !== "end" && lines.length) figure.insertBefore(element("p", { class: "quiet" }, "Only the final accuracy was recorded."), chart);
  figure.draw = () => {
    const width = Math.max(240, chart.clientWidth), last = Math.max(1, ...curved.map((line) => line.curve.at(-1)[0]));
    const described = lines.map((line) => `${line.label} ${fixed(ends ? line.end[0] : line.curve.at(-1)?.[1], 1)}%`).join(", ");
    chart.setAttribute("aria-label", `${title}: ${ends ? "accuracy at the end" : `accuracy after ${last} tasks`}: ${described}. Arrow keys read single numbers.`);
    const specification = ends ? atTheEnd(lines, width, limits) : overTasks(curved, width, 225, limits, last);
    pointAt(chart, draw(chart, specification, title), ends ? lines : curved, ends);
  };
  return figure;
}

// The numbers behind a panel, for those who want to read them, made when asked for.
function numbers(lines, measure, ends) {
  const details = element("details", { class: "quiet" }, element("summary", {}, "numbers"));
  details.ontoggle = () => {
    if (details.children.length > 1) return;
    const interval = ([, mean, low, high]) => fixed(mean, 1) + (low === null ? "" : ` (${fixed(low, 1)} to ${fixed(high, 1)})`);
    const last = Math.max(1, ...lines.map((line) => line.curve.at(-1)?.[0] ?? 1));
    const columns = ends ? [["accuracy %", (line) => interval([0, ...line.end])], ["seeds", (line) => line.ends.map((v) => fixed(v, 1)).join(" ")], ["paper", (line) => fixed(line.printed, 1)]]
      : Array.from({ length: last }, (_, k) => [`task ${k + 1}`, (line) => { const point = line.curve.find((p) => p[0] === k + 1); return point ? interval(point) : ""; }]);
    const head = element("tr", {}, element("th", { scope: "col" }, "line"), ...columns.map(([name]) => element("th", { scope: "col" }, name)));
    const body = lines.map((line) => element("tr", {}, element("th", { scope: "row" }, line.label), ...columns.map(([, value]) => element("td", {}, value(line)))));
    details.append(scrollable(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)), "numbers of the panel"));
  };
  return details;
}
