"use strict";
// Panels drawn by Vega: accuracy over tasks, and accuracy at the end. Their specifications are fixed
// here; names and numbers of studies are data in them and are never read as expressions.

const LIGHT = ["#0072B2", "#D55E00", "#009E73", "#B5558F", "#C98500", "#3D9BD6", "#222222", "#8E3B76", "#7A4A00"];
const DARK = ["#5FB3E8", "#FF8F52", "#3CCB9E", "#EBA5CE", "#F2B84B", "#A3D8F5", "#E8E8E8", "#C58BD0", "#CFA266"];
const DASHES = [[1, 0], [6, 1.5, 1, 1.5], [5, 2], [3, 1.5, 1, 1.5], [1.5, 1.2], [4, 1.5], [1, 2.5], [8, 2], [8, 2, 2, 2]];
const SHAPES = ["circle", "triangle-up", "cross", "triangle-down", "diamond", "square", "triangle-left", "triangle-right"];
// Growths of the package have the colours that the report's figures give them.
const GROWTH_SLOTS = { random: 0, gradient: 1, unfired: 5, momentum: 4, momentum_neuron: 3, none: 6 };

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// By label, in a fixed order: colour, dash and shape. No two of 72 labels look the same.
function looks(labels) {
  const found = new Map(), colors = isDark() ? DARK : LIGHT;
  const known = labels.filter((label) => label in GROWTH_SLOTS).map((label) => GROWTH_SLOTS[label]);
  const free = colors.map((_, k) => k).filter((k) => !known.includes(k));
  let next = 0;
  for (const label of labels) {
    const given = Object.hasOwn(GROWTH_SLOTS, label) ? GROWTH_SLOTS[label] : undefined;
    const slot = given ?? free[next % free.length];
    const round = given === undefined ? Math.floor(next++ / free.length) : 0;
    found.set(label, {
      color: colors[slot],
      dash: DASHES[(slot + 2 * round) % DASHES.length],
      shape: SHAPES[(slot + 3 * round) % SHAPES.length],
    });
  }
  return found;
}

function config() {
  const font = getComputedStyle(document.body).fontFamily, ink = css("--ink"), quiet = css("--quiet"), line = css("--line");
  return {
    background: null,
    axis: { labelFont: font, titleFont: font, labelColor: quiet, titleColor: ink, titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 11.5,
      domainColor: quiet, tickColor: quiet, gridColor: line, tickSize: 4 },
  };
}

const from = (name) => ({ field: name });
const dashed = { signal: "datum.dash" };
const faded = { signal: "hover === null || hover === datum.label ? 1 : 0.25" };
const band = { signal: "hover === null ? 0.13 : hover === datum.label ? 0.22 : 0.03" };

// lines: {label, look, curve, seeds, paper}; a curve has [task, mean, low, high, seeds] a point.
function overTasks(lines, width, height, limits, last) {
  const points = [], paper = [], seeds = [];
  for (const { label, look, curve, seeds: own, paper: theirs } of lines) {
    for (const [task, mean, low, high] of curve) points.push({ label, ...look, task, mean, low, high });
    for (const [task, mean] of theirs?.points ?? []) if (task <= last) paper.push({ label, ...look, task, mean });
    for (const [seed, values] of own) for (const [task, mean] of values) seeds.push({ label, key: label + " " + seed, ...look, task, mean });
  }
  const x = { scale: "x", field: "task" }, y = { scale: "y", field: "mean" };
  const each = (name, data, by, marks) => ({ type: "group", clip: true, encode: { update: { width: { signal: "width" }, height: { signal: "height" } } },
    from: { facet: { name, data, groupby: by } }, marks });
  return {
    width, height, padding: 4, autosize: { type: "fit", contains: "padding" }, config: config(),
    signals: [{ name: "hover", value: null }],
    data: [{ name: "points", values: points }, { name: "paper", values: paper }, { name: "seeds", values: seeds }],
    scales: [
      { name: "x", type: "linear", zero: false, domain: last > 1 ? [1, last] : [0.5, 1.5], range: "width", padding: 8 },
      { name: "y", type: "linear", zero: false, domain: limits, range: "height" },
    ],
    axes: [
      { orient: "bottom", scale: "x", title: "tasks learned", format: "d", tickMinStep: 1, tickCount: 10 },
      { orient: "left", scale: "y", title: "accuracy (%)", grid: true, tickCount: 5, minExtent: 28 },
    ],
    marks: [
      each("line", "points", "label", [
        { type: "area", from: { data: "line" }, encode: { update: { x, y: { scale: "y", field: "low" }, y2: { scale: "y", field: "high" },
          defined: { signal: "isValid(datum.low) && isValid(datum.high)" }, fill: from("color"), fillOpacity: band } } },
        { type: "line", from: { data: "line" }, encode: { update: { x, y, stroke: from("color"), strokeDash: dashed, strokeWidth: { value: 1.8 }, opacity: faded } } },
        { type: "symbol", from: { data: "line" }, encode: { update: { x, y, fill: from("color"), shape: from("shape"), size: { value: 26 }, opacity: faded } } },
      ]),
      each("printed", "paper", "label", [
        { type: "line", from: { data: "printed" }, encode: { update: { x, y, stroke: from("color"), strokeDash: { value: [2, 3] }, strokeWidth: { value: 1.4 }, opacity: faded } } },
        { type: "symbol", from: { data: "printed" }, encode: { update: { x, y, stroke: from("color"), fill: { value: css("--page") }, shape: from("shape"), size: { value: 22 }, strokeWidth: { value: 1 }, opacity: faded } } },
      ]),
      each("single", "seeds", "key", [
        { type: "line", from: { data: "single" }, encode: { update: { x, y, stroke: from("color"), strokeWidth: { value: 0.8 },
          opacity: { signal: "hover === datum.label ? 0.6 : 0" } } } },
      ]),
    ],
  };
}

// A row a line: mean, interval, single seeds as ticks, the paper's number as a hollow sign.
function atTheEnd(lines, width, limits) {
  const rows = lines.map(({ label, look, end: [mean, low, high] }) => ({ label, ...look, mean, low, high }));
  const seeds = lines.flatMap(({ label, look, ends }) => ends.map((mean) => ({ label, ...look, mean })));
  const paper = lines.filter((line) => line.printed !== null).map(({ label, look, printed }) => ({ label, ...look, mean: printed }));
  const y = { scale: "row", field: "label", band: 0.5 }, x = { scale: "x", field: "mean" };
  return {
    width, height: 52 + 22 * rows.length, padding: 4, autosize: { type: "fit", contains: "padding" }, config: config(),
    signals: [{ name: "hover", value: null }],
    data: [{ name: "rows", values: rows }, { name: "seeds", values: seeds }, { name: "paper", values: paper }],
    scales: [
      { name: "row", type: "band", domain: rows.map((row) => row.label), range: "height", padding: 0.2 },
      { name: "x", type: "linear", zero: false, domain: limits, range: "width" },
    ],
    axes: [
      { orient: "bottom", scale: "x", title: "accuracy over all tasks at the end (%)", grid: true, tickCount: 5 },
      { orient: "left", scale: "row", labelLimit: Math.round(0.5 * width), domain: false, ticks: false, labelColor: css("--ink") },
    ],
    marks: [{ type: "group", clip: true, encode: { update: { width: { signal: "width" }, height: { signal: "height" } } }, marks: [
      { type: "rule", from: { data: "rows" }, encode: { update: { y, x: { scale: "x", field: "low" }, x2: { scale: "x", field: "high" },
        opacity: { signal: "isValid(datum.low) ? 1 : 0" }, stroke: from("color"), strokeWidth: { value: 1.6 } } } },
      { type: "symbol", from: { data: "seeds" }, encode: { update: { x, y, shape: { value: "stroke" }, angle: { value: 90 }, size: { value: 70 }, stroke: from("color"),
        strokeWidth: { value: 1 }, opacity: { signal: "hover === datum.label ? 0.95 : 0.4" } } } },
      { type: "symbol", from: { data: "rows" }, encode: { update: { x, y, shape: from("shape"), fill: from("color"), size: { value: 55 } } } },
      { type: "symbol", from: { data: "paper" }, encode: { update: { x, y, shape: from("shape"), stroke: from("color"), fill: { value: css("--page") }, strokeWidth: { value: 1.3 }, size: { value: 60 } } } },
    ] }],
  };
}

function draw(place, specification, description) {
  const view = new vega.View(vega.parse(specification), { renderer: "svg", container: place, hover: false });
  view.tooltip(() => {}).description(description).run();
  return view;
}

// Round limits around values, within 0 and 100.
function limitsOf(values, whole) {
  if (whole || !values.length) return [0, 100];
  const low = Math.min(...values), high = Math.max(...values), room = Math.max(1, 0.06 * (high - low));
  const step = high - low > 30 ? 10 : 5;
  return [Math.max(0, Math.floor((low - room) / step) * step), Math.min(100, Math.ceil((high + room) / step) * step)];
}
