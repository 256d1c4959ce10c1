// Charts over time, drawn by uPlot, with the same figures as a table for those who
// cannot see them.
import uPlot from "../../vendor/uplot/uPlot.esm.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { moment, utc } from "../lib/format.js";

/** The colour that a custom property stands for at present: a canvas knows no properties. */
function colour(name) {
  const probe = document.createElement("span");
  probe.className = "ink-" + name;
  probe.hidden = true;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const faint = (rgb, share) => rgb.replace("rgb(", "rgba(").replace(")", `, ${share})`);

const wholes = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 1e5, 1e6];

function axes(say, whole) {
  const ink = colour("muted");
  const line = colour("line");
  const font = "11px system-ui, sans-serif";
  const grid = { stroke: line, width: 1 };
  return [
    { stroke: ink, font, grid: { show: false }, ticks: { stroke: line, width: 1, size: 4 }, space: 72, size: 26,
      incrs: [60, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400], values: (_, ticks) => ticks.map((t) => hour.format(new Date(t * 1000))) },
    { stroke: ink, font, grid, ticks: { show: false }, size: 46, space: 34, ...(whole && { incrs: wholes }), values: (_, ticks) => ticks.map(say) },
  ];
}

/** Bars on one another: the whole is drawn first, and what is below it over it. */
function bars(series) {
  const paths = uPlot.paths.bars({ size: [0.8, 22], align: 1 });
  return series.map((one) => ({ label: one.name, fill: colour(one.ink), width: 0, paths, points: { show: false } })).reverse();
}

// A line through one or two points would not show.
const isSparse = (plot, series) => plot.data[series].filter((n) => n !== null).length < 3;

function lines(series) {
  return series.map((one) => {
    const stroke = colour(one.ink);
    return {
      label: one.name, stroke, width: 1.75, dash: one.dash, spanGaps: false, fill: one.area ? faint(stroke, 0.13) : undefined,
      points: { show: isSparse, size: 5 },
    };
  });
}

const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** What the pointer is at, in words, for the legend. */
function followed(plot, setAt) {
  const i = plot.cursor.idx;
  setAt(i === null || i === undefined ? null : i);
}

// A bar stands to the right of its time: the last one needs room.
function withLast(plot, low, high) {
  const [first, second] = plot.data[0];
  return [low, high + (second - first || 1)];
}

function options(series, { say, stacked }, size, setAt) {
  return {
    ...size, padding: [10, 24, 0, 0], legend: { show: false },
    cursor: { y: false, points: { show: !stacked, size: 7 }, drag: { x: false, y: false } },
    scales: { x: stacked ? { time: true, range: withLast } : { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    series: [{}, ...(stacked ? bars(series) : lines(series))], axes: axes(say, stacked), hooks: { setCursor: [(plot) => followed(plot, setAt)] },
  };
}

/** Draws anew when the theme changes, and follows its place's width. */
function useDrawing(series, data, how, setAt) {
  const { height } = how;
  const place = useRef(null);
  const plot = useRef(null);
  const [look, setLook] = useState(0);
  useEffect(() => {
    const again = () => setLook((n) => n + 1);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", again);
    window.addEventListener("keeper:theme", again);
    return () => {
      dark.removeEventListener("change", again);
      window.removeEventListener("keeper:theme", again);
    };
  }, []);
  useEffect(() => {
    const drawn = new uPlot(options(series, how, { width: place.current.clientWidth, height }, setAt), data, place.current);
    plot.current = drawn;
    const watch = new ResizeObserver(([entry]) => drawn.setSize({ width: Math.floor(entry.contentRect.width), height }));
    watch.observe(place.current);
    return () => {
      watch.disconnect();
      drawn.destroy();
    };
  }, [look, height]);
  useEffect(() => plot.current?.setData(data), [data]);
  return place;
}

function figures(points, series, stacked) {
  const rows = series.map((s) => points.map(s.of));
  if (!stacked) return rows;
  for (let i = 1; i < rows.length; i++) rows[i] = rows[i].map((n, at) => n + rows[i - 1][at]);
  return rows.reverse();
}

/** At most so many points, each the sum of several. */
export function coarser(points, most, sums) {
  const size = Math.ceil(points.length / most);
  const all = [];
  for (let i = points.length; i > 0; i -= size) {
    const some = points.slice(Math.max(0, i - size), i);
    all.unshift({ at: some[0].at, ...Object.fromEntries(sums.map((name) => [name, some.reduce((sum, p) => sum + p[name], 0)])) });
  }
  return all;
}

/**
 * points: what has `at`; series: { name, ink, dash, area, of(point) }, where ink is a
 * colour's name and dash tells lines apart without colour; say: a value in words.
 * stacked: bars on one another in place of lines.
 */
export function Chart({ label, points, series, say, stacked = false, height = 200 }) {
  const [at, setAt] = useState(null);
  const data = useMemo(() => [points.map((p) => Date.parse(p.at) / 1000), ...figures(points, series, stacked)], [points, series]);
  const place = useDrawing(series, data, { say, stacked, height }, setAt);
  const shown = at === null ? null : points[at];
  return html`<figure class="chart">
    <figcaption class="keys">
      ${series.map((s) => html`<span class="key" key=${s.name}><i class=${`ink-${s.ink} ${s.dash ? "dashed" : ""} ${stacked ? "square" : ""}`} />${s.name}${shown && html` <b class="num">${say(s.of(shown))}</b>`}</span>`)}
      <span class="muted num at">${shown && html`<span title=${utc(shown.at)}>${clock.format(new Date(shown.at))}</span>`}</span>
    </figcaption>
    <div class="plot" ref=${place} role="img" aria-label=${label} />
    <${Figures} label=${label} points=${points} series=${series} say=${say} />
  </figure>`;
}

/** The chart as a table, made only once it is opened. */
function Figures({ label, points, series, say }) {
  const [open, setOpen] = useState(false);
  const told = points.filter((p) => series.some((s) => s.of(p) > 0));
  return html`<details class="figures small" onToggle=${(e) => setOpen(e.target.open)}><summary class="muted">As a table</summary>
    ${open && html`<div class="scroller figures-scroller" tabindex="0" role="region" aria-label=${`${label}: figures`}><table class="table"><thead><tr><th scope="col">Time</th>${series.map((s) => html`<th key=${s.name} scope="col" class="right">${s.name}</th>`)}</tr></thead>
      <tbody>${told.map((p) => html`<tr key=${p.at}><td title=${utc(p.at)}>${moment(p.at, { seconds: true })}</td>${series.map((s) => html`<td key=${s.name} class="right">${say(s.of(p))}</td>`)}</tr>`)}
      ${told.length === 0 && html`<tr><td colspan=${series.length + 1} class="muted">Nothing but zeroes</td></tr>`}</tbody></table></div>`}
  </details>`;
}
