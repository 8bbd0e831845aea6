"use strict";
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
