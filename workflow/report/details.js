"use strict";
// What is known of one run: accuracy matrix, densities of its layers, overlap of its masks. Each is a table whose
// cells have a colour, so that whoever reads the page aloud has the numbers too.

const STEPS = [0, 5, 10, 20, 50, 100];
const SCALES = {
  even: (value) => value / 100,
  // Most densities and overlaps are small, and 5% must not look like 20%.
  root: (value) => Math.sqrt(value / 100),
};
const unpacked = new Map();
let openRun = null;

// The numbers of a packed grid in per cent, row by row; null where there is none.
function numbersOf(place) {
  if (!unpacked.has(place)) {
    const bytes = Uint8Array.from(atob(DATA.details.grids[place]), (sign) => sign.charCodeAt(0)), view = new DataView(bytes.buffer);
    const values = Array.from({ length: bytes.length / 2 }, (_, k) => view.getUint16(2 * k, true));
    unpacked.set(place, values.map((value) => (value === 0xffff ? null : value / 100)));
  }
  return unpacked.get(place);
}

function gridOf(place, columns) {
  const values = numbersOf(place);
  return Array.from({ length: values.length / columns }, (_, row) => values.slice(row * columns, (row + 1) * columns));
}

// A row after each task, from none on; empty where it was not recorded.
function matrixOf(run) {
  const [columns, place] = DATA.details.accuracy[run] ?? [];
  return columns ? gridOf(place, columns) : [];
}

// {layers: [name, weights], densities: a row a task, whole: a task's density, share used before, share used so far}
function layersOf(run) {
  if (!(run in DATA.details.layers)) return null;
  const [stack, densities, whole] = DATA.details.layers[run], layers = DATA.details.stacks[stack];
  return { layers, densities: gridOf(densities, layers.length), whole: gridOf(whole, 3) };
}

// A row a task from the second on: what it shares with each task before it.
function overlapOf(run) {
  if (!(run in DATA.details.overlap)) return null;
  const values = numbersOf(DATA.details.overlap[run]), rows = [];
  for (let from = 0; from < values.length; from += rows.length) rows.push(values.slice(from, from + rows.length + 1));
  return rows;
}

// ---- tables ---------------------------------------------------------------------------------------------------
function heat(value, scale, grey = false) {
  const digits = scale === SCALES.root && value > 0 && value < 1 ? 2 : 1;
  const cell = element("td", { class: grey || value === null ? "n heat unseen" : "n heat" }, fixed(value, digits));
  cell.style.setProperty("--share", `${value === null ? 0 : Math.round(70 * scale(value))}%`);
  return cell;
}

// Of many columns the first alone has the word; a reader hears it with each.
const taskHeads = (tasks) => tasks.map((task) => element("th", { scope: "col", class: "n", "aria-label": `task ${task}` }, tasks.length > 6 && task > 1 ? String(task) : `task ${task}`));
const rowOf = (head, ...cells) => element("tr", {}, element("th", { scope: "row" }, head), ...cells);

function heatTable(label, heads, rows, feet = []) {
  const parts = [element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)];
  return scrollable(element("table", { class: "matrix" }, ...parts, ...(feet.length ? [element("tfoot", {}, ...feet)] : [])), label);
}

function legendOf(scale) {
  const swatches = STEPS.map((step) => { const cell = element("span", { class: "heat" }, `${step}%`); cell.style.setProperty("--share", `${Math.round(70 * scale(step))}%`); return cell; });
  return element("p", { class: "scale", "aria-hidden": "true" }, ...swatches);
}

function part(title, file, study, ...content) {
  const there = study.files.includes(file), path = `${study.folder}/${file}`.split("/").map(encodeURIComponent).join("/");
  return element("section", { "data-part": file }, element("h4", {}, title), ...content, ...(there ? [element("p", { class: "quiet" }, "Exact numbers: ", element("a", { href: path }, file))] : []));
}

const lacking = (file, study, more = "") => element("p", {}, study.files.includes(file) ? `Not recorded: ${file} has no row of this run.` : `Not recorded: this study has no ${file}.${more}`);

// ---- the three parts ------------------------------------------------------------------------------------------
function accuracyPart(run, study) {
  const matrix = matrixOf(run);
  if (!matrix.length) return part("Accuracy matrix", "accuracy.csv", study, lacking("accuracy.csv", study));
  const tasks = matrix[0].map((_, k) => k + 1);
  const rows = matrix.map((values, after) => rowOf(after ? `after task ${after}` : "untrained", ...values.map((value, k) => heat(value, SCALES.even, k >= after))));
  return part("Accuracy matrix", "accuracy.csv", study, element("p", { class: "quiet" }, "Accuracy on each task in %, untrained and after each task. Grey: the task was not learned yet."),
    legendOf(SCALES.even), heatTable("accuracy matrix", [element("th", { scope: "col" }, ""), ...taskHeads(tasks)], rows));
}

const isDense = (known) => known.densities.every((row) => row.every((value) => value === 100));

function layersPart(known, study) {
  const title = "Layer densities", file = "capacity.csv";
  if (!known) return part(title, file, study, lacking(file, study));
  if (isDense(known)) return part(title, file, study, element("p", {}, "Dense: every task uses all weights of every layer."));
  const { layers, densities, whole } = known, tasks = densities.map((_, k) => k + 1);
  const heads = [element("th", { scope: "col" }, "layer"), element("th", { scope: "col", class: "n" }, "weights"), ...taskHeads(tasks)];
  const rows = layers.map(([name, size], layer) => rowOf(name.replace(/\.weight$/, ""), element("td", { class: "n" }, size.toLocaleString("en")), ...densities.map((row) => heat(row[layer], SCALES.root))));
  const size = layers.reduce((sum, [, one]) => sum + one, 0).toLocaleString("en");
  const feet = ["all layers", "of these, used before", "used by any task so far"].map((name, k) => rowOf(name, element("td", { class: "n" }, k === 1 ? "" : size), ...whole.map((row) => heat(row[k], SCALES.root))));
  return part(title, file, study, element("p", { class: "quiet" }, "Active weights of each task, in % of the layer's. Of a task's active weights, those that an earlier task uses too are \"used before\"."),
    legendOf(SCALES.root), heatTable("layer densities", heads, rows, feet));
}

// Expected Jaccard index of two tasks whose masks are drawn at random within layers, in per cent.
function independent({ layers, densities }, task, other) {
  let both = 0, either = 0;
  for (const [layer, [, size]] of layers.entries()) {
    const one = densities[task][layer] / 100, two = densities[other][layer] / 100;
    both += size * one * two;
    either += size * (one + two - one * two);
  }
  return either ? 100 * both / either : 0;
}

function chance(known, rows) {
  if (!known || known.densities.length <= rows.length) return "";
  const found = rows.flatMap((row, k) => row.map((_, other) => independent(known, k + 1, other)));
  const ends = [...new Set([Math.min(...found), Math.max(...found)].map((value) => `${fixed(value, 1)}%`))].join(" to ");
  return ` Random masks with as many weights in each layer would share ${ends}.`;
}

function overlapPart(run, known, study) {
  const title = "Overlap of masks", file = "overlap.csv", rows = overlapOf(run);
  const say = (text) => part(title, file, study, element("p", {}, text));
  if (known && isDense(known)) return say("Every task uses all weights: there are no masks to compare.");
  if (known && known.densities.length === 1) return say("One mask alone: there is no pair of tasks to compare.");
  if (!rows) return part(title, file, study, lacking(file, study, known ? " What tasks reuse is in the last lines of the layer densities." : ""));
  const tasks = rows.map((_, k) => k + 1);
  const lines = rows.map((row, k) => rowOf(`task ${k + 2}`, ...row.map((value) => heat(value, SCALES.root)), ...tasks.slice(row.length).map(() => element("td"))));
  return part(title, file, study, element("p", { class: "quiet" }, `Weights that both tasks use, in % of those that either uses (Jaccard index).${chance(known, rows)}`),
    legendOf(SCALES.root), heatTable("overlap of masks", [element("th", { scope: "col" }, "with"), ...taskHeads(tasks)], lines));
}

// ---- the dialog -----------------------------------------------------------------------------------------------
function showRun(row) {
  const run = DATA.runs[row], study = DATA.studies.find((one) => one.name === run[AT.study]), known = layersOf(row);
  const close = element("button", { type: "button", autofocus: "" }, "close"), dialog = byId("run");
  close.onclick = () => dialog.close();
  const numbers = [["accuracy", RUN.acc], ["as learned", RUN.learning], ["weights used", RUN.used]].filter(([, place]) => run[place] !== null).map(([name, place]) => `${name} ${fixed(run[place], 1)}%`);
  dialog.replaceChildren(
    element("div", { class: "top" }, element("h3", { id: "run-title" }, `Run ${run[RUN.digest]}`), close),
    element("p", { class: "quiet" }, `${words({ at: run }, AXES).join(" · ")} · seed ${run[RUN.seed]}`),
    element("p", {}, `At the end: ${numbers.join(", ")}.`),
    accuracyPart(row, study), layersPart(known, study), overlapPart(row, known, study));
  dialog.onclose = () => { openRun = null; remember(); };
  openRun = row;
  remember();
  dialog.showModal();
}

// How the address names a run: recorded studies of one preset have digests in common.
const runName = (row) => `${DATA.runs[row][AT.study]}/${DATA.runs[row][RUN.digest]}`;
function runCalled(name) {
  const row = DATA.runs.findIndex((_, place) => runName(place) === name);
  return row < 0 ? null : row;
}
