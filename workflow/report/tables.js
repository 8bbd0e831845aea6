"use strict";
// Tables that one can sort, by mouse and by keyboard; text from files is text, never markup.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Missing values come last, whichever way one sorts.
function compare(a, b, direction) {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  if (typeof a === "number" && typeof b === "number") return direction * (a - b);
  return direction * String(a).localeCompare(String(b), undefined, { numeric: true });
}

// A button in a header cell; `sort(direction)` is called with 1 or -1.
function sortButton(cell, sort) {
  const button = element("button", { type: "button", class: "sort" });
  button.append(...cell.childNodes);
  cell.replaceChildren(button);
  cell.setAttribute("scope", "col");
  button.onclick = () => {
    const direction = cell.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of cell.closest("thead").querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    sort(direction);
  };
}

// A box of its own that scrolls: a wide table must not make the page wide.
function scrollable(table, label) {
  return element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label }, table);
}

// columns: {title, hint, numeric, once, value(row) to sort by, cell(row) to show: text or a node}. What all
// rows share in a column of `once` is said above the table instead. Returns the node and `show(rows, words)`.
function dataTable(label, columns, most) {
  const head = element("tr"), body = element("tbody");
  const table = element("table", {}, element("thead", {}, head), body);
  const count = element("p", { class: "quiet", role: "status" });
  const shownAs = (column, row) => (column.cell || column.value)(row) ?? "";
  let rows = [], key = null, way = 1, there = columns;
  for (const column of columns) {
    const cell = column.head = element("th", column.numeric ? { class: "n", scope: "col" } : { scope: "col" }, column.title);
    if (column.hint) cell.title = column.hint;
    head.append(cell);
    if (column.value) sortButton(cell, (direction) => { key = column; way = direction; fill(); });
  }
  function fill() {
    const order = rows.map((row, place) => [row, place]);
    if (key) order.sort((a, b) => compare(key.value(a[0]), key.value(b[0]), way) || a[1] - b[1]);
    body.replaceChildren(...order.slice(0, most).map(([row]) => element("tr", {}, ...there.map((column) =>
      element("td", column.numeric ? { class: "n" } : {}, shownAs(column, row))))));
  }
  function show(found, words) {
    rows = found;
    const same = columns.filter((c) => c.once && rows.length > 1 && rows.every((row) => c.value(row) === c.value(rows[0])));
    there = columns.filter((column) => !same.includes(column));
    head.replaceChildren(...there.map((column) => column.head));
    const common = same.map((column) => [column.title, shownAs(column, rows[0])]).filter(([, text]) => text !== "");
    count.textContent = words + (rows.length > most ? ` The first ${most} are shown.` : "")
      + (common.length ? ` All: ${common.map((pair) => pair.join(" ")).join(", ")}.` : "");
    box.hidden = !rows.length;
    fill();
  }
  const box = scrollable(table, label);
  return { node: element("div", { class: "data" }, count, box), show };
}

// A table that is in the page already: rows of its body are sorted by `data-sort` of a cell, or by its
// text. A header cell of several rows or columns has the number of its column in `data-column`.
function sortable(table) {
  for (const cell of table.tHead.querySelectorAll("th")) {
    if (cell.colSpan > 1) continue;
    const column = Number(cell.dataset.column ?? cell.cellIndex);
    const value = (row) => {
      const { sort } = row.cells[column].dataset, text = sort ?? row.cells[column].textContent.trim();
      return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
    };
    sortButton(cell, (direction) => {
      const [body] = table.tBodies;
      body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), direction)));
    });
  }
}

// Rows of JSON in the page, with a search; what all rows share is said once, above the table.
function searchTable(place) {
  const name = place.dataset.table;
  const { columns, rows } = JSON.parse(document.getElementById("data-" + name).textContent);
  const text = (value) => (value === null ? "" : String(value));
  const texts = new Map(rows.map((row) => [row, columns.map((c, k) => c + "=" + text(row[k])).join(" ").toLowerCase()]));
  const table = dataTable(name, columns.map((title, k) => ({
    title, once: rows.length > 1 && rows.every((row) => row[k] === rows[0][k]),
    numeric: rows.every((row) => row[k] === null || typeof row[k] === "number"),
    value: (row) => row[k],
    cell: (row) => text(row[k]),
  })), 300);
  const input = element("input", {
    type: "search", "aria-label": "search " + name,
    placeholder: "search: words that must all occur, as in: erk gradient density=0.05",
  });
  input.oninput = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((row) => words.every((word) => texts.get(row).includes(word)));
    table.show(found, `${found.length} of ${rows.length} rows.`);
  };
  place.append(input, table.node);
  input.oninput();
}
