"use strict";
document.querySelectorAll(".search").forEach(searchTable);
document.querySelectorAll("table.sortable").forEach(sortable);
