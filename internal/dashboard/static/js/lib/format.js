// Numbers, sizes and times as people read them.
const whole = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const tenth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const dayTime = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const yearTime = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const today = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const near = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "long" });

export const count = (n) => (n === undefined || n === null ? "–" : whole.format(n));
export const compact = (n) => (n === undefined || n === null ? "–" : Math.abs(n) < 10000 ? whole.format(n) : short.format(n));
export const decimal = (n) => (n === undefined || n === null ? "–" : tenth.format(n));

/** One or several of a noun: "1 agent", "2 agents". */
export const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;

export function millis(ms) {
  if (ms === undefined || ms === null) return "–";
  if (ms < 0.05) return ms > 0 ? "< 0.1 ms" : "< 1 ms"; // whole calls are counted in whole ones
  if (ms >= 10000) return `${tenth.format(ms / 1000)} s`;
  return `${ms < 10 ? tenth.format(ms) : whole.format(Math.round(ms))} ms`;
}

export function bytes(n) {
  if (n === undefined || n === null) return "–";
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i === 0 ? whole.format(n) : tenth.format(n)} ${n === 1 && i === 0 ? "byte" : units[i]}`;
}

export const percent = (part, all) => (all > 0 ? `${tenth.format((100 * part) / all)} %` : "–");

export const utc = (text) => (Number.isNaN(Date.parse(text)) ? String(text) : new Date(text).toISOString().replace("T", " ").replace(/\.000Z$|Z$/, " UTC"));

/** A time that an address was given by hand may be none: it is shown as it is. */
export function moment(text, { seconds = false } = {}) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return String(text);
  if (seconds) return (date.toDateString() === new Date().toDateString() ? today : exact).format(date);
  return (date.getFullYear() === new Date().getFullYear() ? dayTime : yearTime).format(date);
}

const steps = [[60, "second"], [60, "minute"], [24, "hour"], [30, "day"], [12, "month"], [Infinity, "year"]];

export function ago(text, now = Date.now()) {
  if (Number.isNaN(Date.parse(text))) return String(text);
  let distance = (new Date(text).getTime() - now) / 1000;
  if (Math.abs(distance) < 5) return "just now";
  for (const [size, unit] of steps) {
    if (Math.abs(distance) < size) return near.format(Math.round(distance), unit);
    distance /= size;
  }
  return moment(text);
}

/** A Go zero time is no time. */
export const isTime = (text) => Boolean(text) && !String(text).startsWith("0001-");
