// Texts for people. Whatever a stream said goes through `plain`, and into text nodes only.

// Controls of terminals, those that turn the direction of writing, and what has no width at all.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A text without invisible controls, as long as it was. */
export function plain(text) {
  return String(text).replace(CONTROLS, "\u25c7");
}

const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });

const COMPACT = new Intl.NumberFormat("en-GB", { notation: "compact", maximumSignificantDigits: 4 });

export const whole = (value) => WHOLE.format(value);

/** A whole number with little room. */
export const compact = (value) => (value < 1e6 ? WHOLE.format(value) : COMPACT.format(value));

export function short(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 1000 ? WHOLE.format(value) : SHORT.format(value);
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${SHORT.format(value * 1000)} µs`;
  return value < 1000 ? `${SHORT.format(value)} ms` : `${SHORT.format(value / 1000)} s`;
}

export function seconds(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  const minutes = Math.floor(value / 60);
  return `${minutes}:${String(Math.floor(value % 60)).padStart(2, "0")} min`;
}

/** A time of day of the feed. */
export function clock(began, t) {
  return new Date((began + t) * 1000).toLocaleTimeString("en-GB");
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  if (value < 1 << 20) return `${(value / 1024).toFixed(0)} KiB`;
  const mebibytes = value / (1 << 20);
  return `${mebibytes.toFixed(mebibytes < 10 ? 1 : 0)} MiB`;
}

export const element = (id) => document.getElementById(id);

/** An element with a class and a text. */
export function make(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = plain(text);
  return made;
}

/** Set a text if it is another one. */
export function put(target, text) {
  const shown = plain(text);
  if (target.textContent !== shown) target.textContent = shown;
}

/** How many of something, as people say it. */
export function counted(count, what) {
  return `${whole(count)} ${what}${count === 1 ? "" : "s"}`;
}

const TAIL = 10; // characters of a name that are always shown

/** Set a name, of which a narrow place leaves out the middle: names often differ in their ends. */
export function putName(target, name) {
  const shown = plain(name).replace(/\s+/g, " ");
  if (target.textContent === shown) return;
  const pair = /[\ud800-\udbff]$/.test(shown.slice(0, -TAIL)) ? 1 : 0; // a character of two halves
  const head = shown.slice(0, -TAIL - pair);
  target.dir = "auto";
  target.replaceChildren(make("span", "head", head), make("span", "tail", shown.slice(head.length)));
}
export const SEVERITIES = ["note", "warn", "block", "stop"];

export function severityOf(severity) {
  return SEVERITIES.includes(severity) ? severity : "note";
}

/** Pairs of a description list, made once and then filled. */
export function fillPairs(list, pairs) {
  while (list.childElementCount > pairs.length) list.lastElementChild.remove();
  pairs.forEach(([label, value], index) => {
    let row = list.children[index];
    if (!row) {
      row = document.createElement("div");
      row.append(document.createElement("dt"), document.createElement("dd"));
      list.append(row);
    }
    put(row.firstElementChild, label);
    put(row.lastElementChild, value);
  });
}
