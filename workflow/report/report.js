"use strict";
// Tables with search and sorting: rows come from JSON in the page, the first of many are shown.
const MOST = 300;
const shown = (value) => (value === null ? "" : typeof value === "number" ? String(value) : value);

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function build(place) {
  const name = place.dataset.table;
  const { columns, rows } = JSON.parse(document.getElementById("data-" + name).textContent);
  // What all rows share is said once, above the table.
  const varied = columns.map((_, k) => rows.length < 2 || rows.some((row) => row[k] !== rows[0][k]));
  const kept = columns.map((_, k) => k).filter((k) => varied[k]);
  const texts = rows.map((row) => columns.map((c, k) => c + "=" + shown(row[k])).join(" ").toLowerCase());
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "search: words that must all occur, as in: erk gradient density=0.05";
  input.setAttribute("aria-label", "search " + name);
  const count = document.createElement("p");
  count.className = "quiet";
  const common = columns.filter((_, k) => !varied[k]).map((c) => c + " " + shown(rows[0][columns.indexOf(c)]));
  const wide = document.createElement("div");
  wide.className = "wide";
  const table = wide.appendChild(document.createElement("table"));
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  let key = null, direction = 1;
  const numeric = (k) => rows.every((row) => row[k] === null || typeof row[k] === "number");
  for (const k of kept) {
    const cell = document.createElement("th");
    cell.textContent = columns[k];
    cell.className = numeric(k) ? "n" : "";
    cell.onclick = () => {
      direction = key === k ? -direction : 1;
      key = k;
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      fill();
    };
    head.appendChild(cell);
  }
  function fill() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.map((_, i) => i).filter((i) => words.every((word) => texts[i].includes(word)));
    if (key !== null) found.sort((a, b) => direction * compare(rows[a][key], rows[b][key]) || a - b);
    body.replaceChildren(...found.slice(0, MOST).map((i) => {
      const line = document.createElement("tr");
      for (const k of kept) {
        const cell = line.insertCell();
        cell.textContent = shown(rows[i][k]);
        if (typeof rows[i][k] === "number") cell.className = "n";
      }
      return line;
    }));
    const some = found.length > MOST ? `, the first ${MOST} shown` : "";
    count.textContent = `${found.length} of ${rows.length} rows${some}.` + (common.length ? ` All: ${common.join(", ")}.` : "");
  }
  input.oninput = fill;
  place.append(input, count, wide);
  fill();
}

document.querySelectorAll(".search").forEach(build);
