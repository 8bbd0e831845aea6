"use strict";
// The page of all results: filters, panels, tables. What is chosen is in the address, so that it can be sent.

const DATA = JSON.parse(document.getElementById("data").textContent);
const AXES = DATA.axes, AT = Object.fromEntries(AXES.map((name, place) => [name, place]));
const BLOCK = ["study", "data", "protocol", "network"], MOST_PANELS = 12;
const byId = (id) => document.getElementById(id);

const RUN = Object.fromEntries(["seed", "acc", "learning", "forgetting", "bwt", "used", "seconds", "digest"].map((name, k) => [name, AXES.length + k]));
const fixed = (value, digits) => (value === null || value === undefined ? "" : value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1"));
const shown = (axis, value) => {
  if (axis === "density") return `${+(100 * (1 - value)).toFixed(4)}% sparsity`;
  if (axis === "init" && value === "erk") return "ERK";
  return value === "" ? "(as usual)" : value;
};
const inWords = (axis, value) => (axis === "init" && value === DATA.not_read ? "no init" : axis === "growth" && value === DATA.not_read ? "no growth" : shown(axis, value));

// ---- filters: by axis, the values chosen; none chosen is all --------------------------------------------------
const VALUES = Object.fromEntries(AXES.map((axis) => {
  const values = [...new Set(DATA.cells.map((cell) => cell.at[AT[axis]]))];
  return [axis, axis === "density" ? values.sort((a, b) => b - a) : values];
}));
const chosen = Object.fromEntries(AXES.map((axis) => [axis, new Set()]));
const passes = (at, but) => AXES.every((axis, k) => axis === but || !chosen[axis].size || chosen[axis].has(at[k]));
const dropdowns = {};

function buildFilters() {
  for (const axis of AXES) {
    if (VALUES[axis].length < 2) continue;
    const summary = element("summary"), boxes = [];
    const list = element("div", { class: "choices", role: "group", "aria-label": axis });
    for (const value of VALUES[axis]) {
      const input = element("input", { type: "checkbox" }), number = element("span", { class: "quiet" });
      input.onchange = () => { chosen[axis][input.checked ? "add" : "delete"](value); update(); };
      list.append(element("label", {}, input, " ", inWords(axis, value), " ", number));
      boxes.push({ value, input, number });
    }
    const node = element("details", { class: "filter", name: "filter", "data-axis": axis }, summary, list);
    dropdowns[axis] = { node, summary, boxes };
    byId("filters").append(node);
  }
  const reset = element("button", { type: "button", id: "reset" }, "clear filters");
  reset.onclick = () => { for (const set of Object.values(chosen)) set.clear(); update(); };
  byId("filters").append(reset);
  document.addEventListener("click", (event) => { if (!event.target.closest(".filter")) closeFilters(); });
  document.addEventListener("keydown", (event) => {
    const open = event.key === "Escape" && document.querySelector(".filter[open]");
    if (open) { open.open = false; open.querySelector("summary").focus(); }
  });
}

const closeFilters = () => document.querySelectorAll(".filter[open]").forEach((one) => { one.open = false; });

function tellFilters() {
  for (const [axis, { summary, boxes }] of Object.entries(dropdowns)) {
    const set = chosen[axis], names = [...set].map((value) => inWords(axis, value));
    summary.replaceChildren(element("b", {}, axis), " ", set.size ? (set.size > 2 ? `${set.size} of ${boxes.length}` : names.join(", ")) : "all");
    summary.parentElement.classList.toggle("active", set.size > 0);
    const counts = new Map();
    for (const { at } of DATA.cells) if (passes(at, axis)) counts.set(at[AT[axis]], (counts.get(at[AT[axis]]) || 0) + 1);
    for (const { value, input, number } of boxes) {
      input.checked = set.has(value);
      number.textContent = counts.get(value) || 0;
      input.parentElement.classList.toggle("none", !counts.get(value));
    }
  }
}

// ---- panels ---------------------------------------------------------------------------------------------------
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
  const matrix = DATA.matrices[run] || [], points = [];
  for (let after = 1; after < matrix.length; after++) {
    const row = measure === "new" ? [matrix[after][after - 1]] : matrix[after].slice(0, after);
    if (row.some((value) => value === null || value === undefined)) break;
    points.push([after, row.reduce((a, b) => a + b, 0) / row.length / 100]);
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
  byId("common").textContent = cells.length ? (common ? `All panels: ${common}.` : "") : "Nothing is left by these filters.";
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
  if (!curved.length && measure !== "end" && lines.length) figure.insertBefore(element("p", { class: "quiet" }, "The end alone was recorded."), chart);
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

// The nearest point to a pointer, or the one chosen by arrow keys: its line stands out, a box has its numbers.
function pointAt(chart, view, lines, ends) {
  const tip = byId("tip");
  let line = 0, place = -1;
  const points = (one) => (ends ? [[0, ...one.end]] : one.curve);
  const onScreen = (one, point) => {
    const [dx, dy] = view.origin();
    return ends ? [dx + view.scale("x")(point[1]), dy + view.scale("row")(one.label) + view.scale("row").bandwidth() / 2]
      : [dx + view.scale("x")(point[0]), dy + view.scale("y")(point[1])];
  };
  const tell = (one, point, x, y) => {
    view.signal("hover", one.label).run();
    const heading = ends ? one.label : `${one.label}, ${point[0]} ${point[0] === 1 ? "task" : "tasks"}`;
    const rows = [`${fixed(point[1], 1)}%` + (point[2] === null ? "" : ` (95% interval ${fixed(point[2], 1)} to ${fixed(point[3], 1)})`)];
    const seeds = ends ? one.ends.map((v) => fixed(v, 1)) : one.seeds.flatMap(([, values]) => values.filter(([task]) => task === point[0]).map(([, v]) => fixed(v, 1)));
    if (seeds.length) rows.push(`${seeds.length} ${seeds.length === 1 ? "seed" : "seeds"}: ${seeds.join(" ")}`);
    else if (point[4]) rows.push(`mean of ${point[4]} seeds; single ones not recorded`);
    const theirs = ends ? one.printed : one.paper?.points.find(([task]) => task === point[0])?.[1];
    if (theirs !== null && theirs !== undefined) rows.push(`paper: ${fixed(theirs, 1)}% (Figure ${DATA.paper[one.cell.paper].figure})`);
    tip.replaceChildren(element("b", {}, heading), ...rows.map((row) => element("div", {}, row)));
    tip.hidden = false;
    const left = Math.min(x + 14, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left) + scrollX}px`;
    tip.style.top = `${y + 16 + scrollY}px`;
  };
  const leave = () => { tip.hidden = true; view.signal("hover", null).run(); };
  chart.onpointermove = (event) => {
    const box = chart.getBoundingClientRect(), mouse = [event.clientX - box.left, event.clientY - box.top];
    let best = null, least = 40 ** 2;
    for (const one of lines) for (const point of points(one)) {
      const [x, y] = onScreen(one, point), far = (ends ? 0 : (x - mouse[0]) ** 2) + (y - mouse[1]) ** 2;
      if (far < least) { least = far; best = [one, point]; }
    }
    if (best) tell(...best, event.clientX, event.clientY); else leave();
  };
  chart.onpointerleave = leave;
  chart.onblur = () => { place = -1; leave(); };
  chart.onkeydown = (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === "Escape") leave();
    if (!step || !lines.length) return;
    event.preventDefault();
    line = (line + (place < 0 ? 0 : step[0]) + lines.length) % lines.length;
    const there = points(lines[line]);
    place = Math.max(0, Math.min(there.length - 1, place < 0 ? 0 : place + step[1]));
    const box = chart.getBoundingClientRect(), [x, y] = onScreen(lines[line], there[place]);
    tell(lines[line], there[place], box.left + x, box.top + y);
  };
}

// ---- tables ---------------------------------------------------------------------------------------------------
const axisColumns = (at) => AXES.filter((axis) => VALUES[axis].length > 1).map((axis) => ({
  title: axis, once: true, numeric: axis === "density", value: (row) => at(row)[AT[axis]], cell: (row) => String(axis === "settings" ? at(row)[AT[axis]] : axis === "density" ? at(row)[AT[axis]] : inWords(axis, at(row)[AT[axis]])),
}));
const percent = (title, value, digits = 1, hint = "") => ({ title, numeric: true, hint, value, cell: (row) => fixed(value(row), digits) });

// Effect and interval on a scale that is logarithmic beyond a point, from -80 to 80.
function forest(claim) {
  if (claim.effect === null) return "";
  const place = (value) => 70 + 13.8 * Math.asinh(Math.max(-80, Math.min(80, value)));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "forest"); svg.setAttribute("viewBox", "0 0 140 14"); svg.setAttribute("aria-hidden", "true");
  const add = (d, name) => { const path = svg.appendChild(document.createElementNS(svg.namespaceURI, "path")); path.setAttribute("d", d); path.setAttribute("class", name); };
  add("M70 0V14", "zero");
  if (claim.more_than !== null) add(`M${place(claim.more_than)} 3V11`, "boundary");
  if (claim.low !== null) add(`M${place(claim.low)} 7H${place(claim.high)}`, claim.verdict);
  add(`M${place(claim.effect) - 3} 7a3 3 0 1 1 6 0a3 3 0 1 1 -6 0Z`, claim.verdict);
  return svg;
}

const signed = (value) => (value === null ? "" : (value > 0 ? "+" : "") + fixed(value, 1));
const badge = (claim) => element("span", { class: `${claim.verdict.replace(" ", "-")} badge` }, claim.verdict);
const statement = (claim) => element("div", { class: "statement" }, claim.statement,
  element("details", {}, element("summary", {}, claim.claim), [claim.source, claim.detail].filter(Boolean).join(". ")));
const claimsTable = dataTable("verdicts", [
  { title: "claim", value: (c) => c.statement, cell: (c) => statement(c) },
  ...BLOCK.map((axis) => ({ title: axis, once: true, value: (c) => c[axis] })),
  { title: "verdict", value: (c) => c.verdict, cell: badge },
  { title: "effect", numeric: true, value: (c) => c.effect, cell: (c) => signed(c.effect) },
  { title: "95% interval", cell: (c) => element("div", { class: "interval" }, forest(c), c.low === null ? "" : ` ${signed(c.low)} to ${signed(c.high)}`) },
  { title: "p", numeric: true, hint: "after Holm's correction", value: (c) => c.p, cell: (c) => (c.p === null ? "" : c.p < 0.001 ? "< 0.001" : c.p.toFixed(3)) },
  { title: "repeats", numeric: true, value: (c) => c.units, cell: (c) => (c.verdict === "not tested" ? "" : `${c.units} ${c.unit}`) },
  { title: "paper", once: true, numeric: true, hint: "the effect in the paper's own numbers", value: (c) => c.paper_effect, cell: (c) => signed(c.paper_effect) },
], 400);
byId("claims").append(claimsTable.node);

const cellsTable = dataTable("configurations", [
  ...axisColumns((cell) => cell.at),
  { title: "seeds", numeric: true, value: (cell) => cell.runs.length, cell: (cell) => String(cell.runs.length) },
  percent("accuracy %", (cell) => cell.end[0]),
  { title: "95% interval", cell: (cell) => (cell.end[1] === null ? "" : `${fixed(cell.end[1], 1)} to ${fixed(cell.end[2], 1)}`) },
], 300);
byId("cells").append(cellsTable.node);

const runsTable = dataTable("runs", [
  ...axisColumns((row) => DATA.runs[row]),
  { title: "seed", numeric: true, value: (row) => DATA.runs[row][RUN.seed], cell: (row) => String(DATA.runs[row][RUN.seed]) },
  percent("accuracy %", (row) => DATA.runs[row][RUN.acc]),
  percent("as learned %", (row) => DATA.runs[row][RUN.learning], 1, "mean accuracy of each task right after it was learned"),
  percent("forgetting", (row) => DATA.runs[row][RUN.forgetting], 1, "in points"),
  percent("used %", (row) => DATA.runs[row][RUN.used], 1, "weights that any task uses"),
  percent("seconds", (row) => DATA.runs[row][RUN.seconds], 0),
  { title: "digest", value: (row) => DATA.runs[row][RUN.digest], cell: (row) => element("code", {}, DATA.runs[row][RUN.digest]) },
  { title: "matrix", cell: (row) => { if (!DATA.matrices[row]) return element("span", { class: "quiet" }, "not recorded");
    const button = element("button", { type: "button", class: "small", "aria-label": `accuracy matrix of run ${DATA.runs[row][RUN.digest]}` }, "show");
    button.onclick = () => showMatrix(row);
    return button; } },
], 200);
byId("list").append(runsTable.node);

function showMatrix(row) {
  const run = DATA.runs[row], matrix = DATA.matrices[row], tasks = matrix[0].map((_, k) => k + 1);
  const close = element("button", { type: "button", autofocus: "" }, "close");
  close.onclick = () => byId("matrix").close();
  const head = element("tr", {}, element("th", { scope: "col" }, "after"), ...tasks.map((task) => element("th", { scope: "col", class: "n" }, `task ${task}`)));
  const lines = matrix.map((values, after) => element("tr", {}, element("th", { scope: "row" }, after ? `task ${after}` : "none"), ...values.map((value, k) => {
    const cell = element("td", { class: k < after ? "n heat" : "n heat unseen" }, value === null ? "" : fixed(value / 100, 1));
    cell.style.setProperty("--share", `${value === null ? 0 : Math.round(value / 130)}%`);
    return cell;
  })));
  const table = element("table", { class: "matrix" }, element("thead", {}, head), element("tbody", {}, ...lines));
  byId("matrix").replaceChildren(
    element("h3", { id: "matrix-title" }, `Accuracy matrix of run ${run[RUN.digest]}`),
    element("p", { class: "quiet" }, `${words({ at: run }, AXES).join(" · ")} · seed ${run[RUN.seed]}. In %; tasks not learned yet are grey.`),
    scrollable(table, "accuracy matrix"), element("p", {}, close));
  byId("matrix").showModal();
}

function showClaims() {
  const kinds = new Set([...document.querySelectorAll("#kinds input:checked")].map((input) => input.value));
  const search = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = DATA.claims.filter((claim) => kinds.has(claim.verdict)
    && BLOCK.every((axis) => !chosen[axis].size || chosen[axis].has(claim[axis]))
    && search.every((word) => `${claim.statement} ${claim.claim} ${claim.detail}`.toLowerCase().includes(word)));
  claimsTable.show(found, `${found.length} of ${DATA.claims.length} verdicts.`);
}

// ---- all of it ------------------------------------------------------------------------------------------------
function update() {
  const cells = DATA.cells.filter((cell) => passes(cell.at)), runs = cells.flatMap((cell) => cell.runs);
  tellFilters();
  byId("found").textContent = `${cells.length} of ${DATA.cells.length} configurations, ${runs.length} of ${DATA.runs.length} runs.`;
  showPanels(cells);
  showClaims();
  cellsTable.show(cells, `${cells.length} configurations.`);
  runsTable.show(runs, `${runs.length} runs.`);
  remember();
}

const CONTROLS = ["measure", "compare"], SWITCHES = ["paper", "whole"];
function remember() {
  const state = new URLSearchParams();
  for (const [axis, set] of Object.entries(chosen)) for (const value of set) state.append(axis, value);
  for (const id of CONTROLS) state.set(id, byId(id).value);
  for (const id of SWITCHES) state.set(id, byId(id).checked ? "1" : "0");
  history.replaceState(null, "", "#?" + state);
}

// True if the address says what to show.
function recall() {
  if (!location.hash.startsWith("#?")) return false;
  const state = new URLSearchParams(location.hash.slice(2));
  for (const axis of AXES) for (const text of state.getAll(axis)) {
    const value = VALUES[axis].find((one) => String(one) === text);
    if (value !== undefined) chosen[axis].add(value);
  }
  for (const id of CONTROLS) if ([...byId(id).options].some((option) => option.value === state.get(id))) byId(id).value = state.get(id);
  for (const id of SWITCHES) if (state.has(id)) byId(id).checked = state.get(id) === "1";
  return true;
}

// One study is enough to begin with: the one that was just made, else one that the paper has curves beside.
function beginning() {
  const first = DATA.studies.find((study) => !study.recorded)?.name
    ?? DATA.cells.find((cell) => cell.paper !== null && cell.seen.length > 1)?.at[AT.study] ?? DATA.studies[0].name;
  chosen.study.add(first);
}

buildFilters();
byId("compare").append(...Object.entries(COMPARE).filter(([, axes]) => axes.some((axis) => VALUES[axis].length > 1)).map(([name]) => element("option", { value: name }, name)));
for (const id of [...CONTROLS, ...SWITCHES]) byId(id).onchange = update;
for (const input of document.querySelectorAll("#kinds input")) input.onchange = showClaims;
byId("words").oninput = showClaims;
if (!recall()) beginning();
update();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
let wide = innerWidth, waiting = 0;
addEventListener("resize", () => { if (innerWidth === wide) return; wide = innerWidth; clearTimeout(waiting); waiting = setTimeout(update, 150); });
