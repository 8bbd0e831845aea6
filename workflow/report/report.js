"use strict";
document.querySelectorAll(".search").forEach(searchTable);
document.querySelectorAll("table.sortable").forEach(sortable);
// Paper has no folds.
addEventListener("beforeprint", () => document.querySelectorAll("#figures details").forEach((fold) => { fold.open = true; }));
