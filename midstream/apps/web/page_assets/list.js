// A list box of any number of rows, of which only those in sight are in the page.

import { counted, element, make, plain, put, putName, severityOf, SEVERITIES } from "./words.js";

const HEIGHT = 58; // of a row, as in the style sheet
const MORE = 4; // rows above and below those in sight

export class List {
  /** `choose(key)` when a row is chosen; `fill(row, item)` puts an item into a row. */
  constructor(box, { choose, fill }) {
    Object.assign(this, { box, choose, fill });
    this.items = [];
    this.selected = null;
    this.rows = new Map(); // key to row
    this.space = make("div", "space");
    this.space.setAttribute("role", "presentation");
    box.append(this.space);
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    box.addEventListener("keydown", (event) => this.press(event));
    box.addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) this.choose(row.dataset.key);
    });
    new ResizeObserver(() => this.draw()).observe(box);
  }

  set(items, selected) {
    this.items = items;
    this.selected = selected;
    this.draw();
  }

  index() {
    return this.items.findIndex((item) => item.key === this.selected);
  }

  move(by) {
    if (!this.items.length) return;
    const last = this.items.length - 1;
    const at = this.index();
    const none = by > last ? last : 0; // from a stream that is not in the list
    const to = at < 0 ? none : Math.max(0, Math.min(last, at + by));
    this.choose(this.items[to].key);
    this.reveal(to);
  }

  reveal(at) {
    const top = at * HEIGHT;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + HEIGHT > this.box.scrollTop + this.box.clientHeight) {
      this.box.scrollTop = top + HEIGHT - this.box.clientHeight;
    }
  }

  press(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / HEIGHT) - 1);
    const steps = {
      ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page,
      Home: -this.items.length, End: this.items.length,
    };
    if (event.key in steps) {
      event.preventDefault();
      event.stopPropagation();
      this.move(steps[event.key]);
    }
  }

  draw() {
    const { box, items } = this;
    this.space.style.height = `${items.length * HEIGHT}px`;
    const first = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - MORE);
    const last = Math.min(items.length, Math.ceil((box.scrollTop + box.clientHeight) / HEIGHT) + MORE);
    const wanted = new Map();
    for (let at = first; at < last; at += 1) wanted.set(items[at].key, at);
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) {
        row.remove();
        this.rows.delete(key);
      }
    }
    let active = "";
    for (const [key, at] of wanted) {
      let row = this.rows.get(key);
      if (!row) {
        row = make("div", "row");
        row.setAttribute("role", "option");
        row.dataset.key = key;
        row.id = `row-${++List.made}`;
        this.rows.set(key, row);
        this.space.append(row);
      }
      if (row.item !== items[at].item) {
        row.item = items[at].item;
        this.fill(row, items[at].item);
      }
      row.style.top = `${at * HEIGHT}px`;
      row.setAttribute("aria-posinset", String(at + 1));
      row.setAttribute("aria-setsize", String(items.length));
      const chosen = key === this.selected;
      row.setAttribute("aria-selected", String(chosen));
      if (chosen) active = row.id;
    }
    if (active) box.setAttribute("aria-activedescendant", active);
    else box.removeAttribute("aria-activedescendant");
  }
}
List.made = 0;

const WAYS = {
  newest: (a, b) => b.opened_s - a.opened_s || b.order - a.order,
  news: (a, b) => b.news_s - a.news_s || b.order - a.order,
  rate: (a, b) => b.rate.events_per_s - a.rate.events_per_s || b.order - a.order,
  findings: (a, b) => b.counts.findings - a.counts.findings || b.order - a.order,
  name: (a, b) => a.name.localeCompare(b.name) || a.order - b.order,
};

const SHOWN = {
  all: () => true,
  open: (one) => one.outcome === "running",
  found: (one) => one.counts.findings > 0,
  stopped: (one) => one.outcome === "stopped",
  failed: (one) => one.outcome === "failed",
  closed: (one) => one.outcome !== "running",
};

function matches(stream, words) {
  if (!words.length) return true;
  const all = [stream.name, stream.key, ...Object.entries(stream.labels).flat()].join(" ").toLowerCase();
  return words.every((word) => all.includes(word));
}

/** Streams that are searched for, in order: `{key, item}` each. */
export function arranged(streams, { search, filter, sort }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  let order = 0;
  for (const stream of Object.values(streams)) {
    order += 1;
    if (SHOWN[filter](stream) && matches(stream, words)) {
      found.push({ order, ...needed(stream), item: stream, key: stream.key });
    }
  }
  found.sort(WAYS[sort]);
  return found;
}

function needed({ opened_s, news_s, rate, counts, name }) {
  return { opened_s, news_s, rate, counts, name };
}

/** The hardest severity of some findings. */
function worst(findings) {
  const order = findings.map((finding) => SEVERITIES.indexOf(severityOf(finding.severity)));
  return SEVERITIES[Math.max(0, ...order)];
}

/** Put a stream into its row. */
export function fillStream(row, stream) {
  if (!row.firstChild) {
    const line = make("span", "line");
    line.append(make("span", "dot"), make("span", "name"), make("span", "count"));
    row.append(line, make("span", "under"));
  }
  const [dot, name, count] = row.firstChild.children;
  const running = stream.outcome === "running";
  dot.dataset.outcome = running ? "running" : stream.outcome;
  putName(name, stream.name || stream.key);
  const found = Math.max(stream.counts.findings, stream.findings.length);
  put(count, found ? `${found}` : "");
  count.hidden = !found;
  count.dataset.severity = worst(stream.findings);
  const parts = [running ? `${Math.round(stream.rate.events_per_s)} events/s` : stream.outcome];
  const labels = Object.values(stream.labels);
  if (labels.length) parts.push(labels.join(" "));
  put(row.lastChild, parts.join(" · "));
  const spoken = `${stream.name || stream.key}, ${running ? "running" : stream.outcome}, ${counted(found, "finding")}`;
  row.setAttribute("aria-label", plain(spoken));
}

/** What the tools above the list say. */
export function asked() {
  return {
    search: element("search").value,
    filter: element("filter").value,
    sort: element("sort").value,
  };
}
