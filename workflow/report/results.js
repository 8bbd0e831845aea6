"use strict";
// The page of all results: its data, filters, tables, and what is shown. What is chosen is in the address, so that
// it can be sent.

const DATA = JSON.parse(document.getElementById("data").textContent);
const AXES = DATA.axes, AT = Object.fromEntries(AXES.map((name, place) => [name, place]));
const BLOCK = ["study", "data", "protocol", "network"];
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
  { title: "details", cell: (row) => {
    const button = element("button", { type: "button", class: "small", "aria-label": `details of run ${DATA.runs[row][RUN.digest]}` }, "show");
    button.onclick = () => showRun(row);
    return button; } },
], 200);
byId("list").append(runsTable.node);

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
  if (openRun !== null) state.set("run", runName(openRun));
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
  openRun = runCalled(state.get("run"));
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
if (openRun !== null) showRun(openRun);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
let wide = innerWidth, waiting = 0;
addEventListener("resize", () => { if (innerWidth === wide) return; wide = innerWidth; clearTimeout(waiting); waiting = setTimeout(update, 150); });
