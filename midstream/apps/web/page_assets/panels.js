// The panels beside the text: each shows one part of a stream's state, when that has changed.

import * as charts from "./charts.js";
import {
  bytes, clock, compact, element, fillPairs, make, milliseconds, plain, put, seconds, severityOf, short, whole,
} from "./words.js";

const RATE_SPAN_S = 60;
const TOTAL_SPAN_S = 120;
const VERDICTS = {
  holds: "holds", presumably_true: "holds", owed: "owed", presumably_false: "owed",
  violated: "violated", false: "violated", satisfied: "satisfied", true: "satisfied",
};

export function showTotals(state) {
  const { totals } = state;
  put(element("total-open"), whole(totals.open));
  put(element("total-opened"), whole(totals.opened));
  put(element("total-events"), compact(totals.events));
  put(element("total-rate"), short(totals.rate.events_per_s));
  put(element("total-p50"), milliseconds(totals.latency.p50_ms));
  put(element("total-p99"), milliseconds(totals.latency.p99_ms));
  const hard = (totals.by_severity.stop || 0) + (totals.by_severity.block || 0);
  put(element("total-findings"), whole(totals.findings));
  put(element("total-stops"), whole(hard));
  const { cpu, memory_bytes: memory } = totals.process;
  put(element("total-cpu"), cpu === null ? "–" : `${(cpu * 100).toFixed(cpu < 0.1 ? 1 : 0)} %`);
  put(element("total-memory"), memory === null ? "–" : bytes(memory));
}

export function drawTotals(state, now) {
  charts.drawRate(element("total-chart"), state.history, now, TOTAL_SPAN_S, "Events a second of all streams", true);
}

export function showHead(stream, state) {
  put(element("name"), stream.name || stream.key);
  const outcome = element("outcome");
  outcome.dataset.outcome = stream.outcome;
  put(outcome, stream.outcome);
  const parts = Object.entries(stream.labels).map(([label, value]) => `${label}: ${value}`);
  if (state.live) {
    parts.push(`since ${clock(state.began_s, stream.opened_s)}`);
    if (stream.closed_s !== null) parts.push(`for ${seconds(stream.closed_s - stream.opened_s)}`);
  }
  if (stream.error) parts.push(stream.error);
  put(element("about"), parts.join(" · "));
}

export function showLatency(latency) {
  const list = element("latency");
  const rows = [
    ["first chunk", latency.first_ms], ["p50", latency.p50_ms], ["p90", latency.p90_ms],
    ["p99", latency.p99_ms], ["longest", latency.max_ms],
  ];
  fillPairs(list, rows.map(([label, value]) => [label, milliseconds(value)]));
  // By powers of ten, from 10 microseconds to 100 seconds: what differs tenfold looks different.
  rows.forEach(([, value], at) => {
    const part = value ? (Math.log10(Math.max(value, 0.01)) + 2) / 7 : 0;
    list.children[at].style.setProperty("--part", `${Math.round(Math.max(0, Math.min(1, part)) * 100)}%`);
  });
}

export function drawRate(stream, now) {
  const span = Math.max(10, Math.min(RATE_SPAN_S, Math.ceil(now - stream.opened_s)));
  charts.drawRate(element("rate-chart"), stream.rates, now, span, "Events a second");
  put(
    element("rate-now"),
    `${short(stream.rate.events_per_s)} events/s, ${short(stream.rate.chars_per_s)} characters/s`,
  );
}

const REGIMES = {
  varied: "varied",
  periodic: "goes in circles",
  stuck: "has come to rest",
};

export function showRegime(stream) {
  const { regime } = stream;
  const words = regime.name === null
    ? regime.n ? "too little text yet" : "no text yet"
    : REGIMES[regime.name] || regime.name;
  put(element("regime-name"), words);
  element("regime-name").dataset.regime = regime.name || "";
  const parts = [`${whole(regime.n)} phrases`];
  if (regime.attractor && regime.attractor !== "unknown") parts.push(regime.attractor.replaceAll("_", " "));
  if (regime.confidence) parts.push(`confidence ${regime.confidence}`);
  put(element("regime-about"), parts.join(" · "));
  charts.drawPortrait(element("portrait"), stream.portrait, plain(`Phase portrait: ${words}, ${regime.n} phrases`));
}

export function showVerdicts(verdicts) {
  const rows = Object.entries(verdicts).map(([policy, verdict]) => {
    const row = make("li", "verdict");
    const known = VERDICTS[verdict.verdict] || verdict.verdict;
    const badge = make("span", "badge", known);
    badge.dataset.verdict = known;
    row.append(badge, make("span", "policy", policy));
    if (verdict.changes) row.append(make("span", "quiet", `changed ${verdict.changes}×`));
    return row;
  });
  if (!rows.length) rows.push(make("li", "quiet", "None are followed."));
  element("verdicts").replaceChildren(...rows);
}

export function showCounts(counts) {
  const pairs = [
    ["events", whole(counts.events)], ["characters", whole(counts.chars)],
    ["chunks", whole(counts.chunks)], ["tool calls", whole(counts.calls)],
    ["errors", whole(counts.errors)],
  ];
  for (const [kind, count] of Object.entries(counts.by_kind)) pairs.push([`${kind} events`, whole(count)]);
  for (const [name, count] of Object.entries(counts.usage || {})) {
    pairs.push([name.replaceAll("_", " "), whole(count)]);
  }
  fillPairs(element("counts"), pairs);
}

const UNITS = {
  level_dbfs: ["level", (value) => `${short(value)} dBFS`],
  peak_dbfs: ["peak", (value) => `${short(value)} dBFS`],
  silent_s: ["silent for", (value) => `${short(value)} s`],
  pts_s: ["at", (value) => `${short(value)} s`],
  frozen_s: ["frozen for", (value) => `${short(value)} s`],
  black: ["black", (value) => (value === true ? "yes" : value === false ? "no" : short(value))],
  loop_period_frames: ["repeats after", (value) => `${value} frames`],
  size: ["size", (value) => (Array.isArray(value) ? value.join(" × ") : String(value))],
};

export function showMedia(stream) {
  const panel = element("media-panel");
  panel.hidden = !stream.audio && !stream.video;
  if (panel.hidden) return;
  const pairs = [];
  for (const [kind, told] of [["audio", stream.audio], ["video", stream.video]]) {
    for (const [name, value] of Object.entries(told || {})) {
      const [label, words] = UNITS[name] || [name.replaceAll("_", " "), String];
      pairs.push([`${kind} ${label}`, value === null ? "–" : words(value)]);
    }
  }
  fillPairs(element("media"), pairs);
  charts.drawLevels(element("levels"), stream.levels, `Levels of the last ${stream.levels.length} reports`);
}

/** Findings as buttons; `choose(n)` goes to one. */
export class Findings {
  constructor(choose) {
    this.choose = choose;
    this.list = element("findings");
    this.kind = element("finding-kind");
    this.severity = element("finding-severity");
    this.shown = null;
    this.current = null;
    for (const select of [this.kind, this.severity]) {
      select.addEventListener("change", () => this.changed());
    }
    this.list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.choose(Number(button.dataset.n));
    });
  }

  changed() {
    const { stream } = this.shown || {};
    this.shown = null;
    if (stream) this.show(stream);
    if (this.onfilter) this.onfilter();
  }

  wanted(findings) {
    const [kind, severity] = [this.kind.value, this.severity.value];
    return findings.filter(
      (finding) => (!kind || finding.kind === kind) && (!severity || finding.severity === severity),
    );
  }

  show(stream) {
    const { findings, counts } = stream;
    if (this.shown && this.shown.findings === findings && this.shown.key === stream.key) return;
    const same = this.shown && this.shown.key === stream.key;
    this.shown = { findings, key: stream.key, stream };
    const kinds = [...new Set(findings.map((finding) => finding.kind))].sort();
    const chosen = this.kind.value;
    const options = kinds.map((kind) => {
      const option = make("option", "", kind);
      option.value = kind;
      return option;
    });
    this.kind.replaceChildren(this.kind.firstElementChild, ...options);
    this.kind.value = kinds.includes(chosen) ? chosen : "";
    const wanted = this.wanted(findings);
    const n = Math.max(counts.findings, findings.length); // counts come now and then
    put(element("findings-count"), n ? whole(n) : "");
    const rows = wanted.map((finding) => this.row(finding)).reverse();
    if (!rows.length) rows.push(make("li", "quiet", findings.length ? "None of these." : "Nothing was found."));
    const focused = document.activeElement && document.activeElement.dataset.n;
    const had = this.list.contains(document.activeElement);
    this.list.replaceChildren(...rows);
    if (had && same) {
      const again = this.list.querySelector(`button[data-n="${Number(focused)}"]`);
      if (again) again.focus({ preventScroll: true });
    }
    this.mark(this.current);
  }

  row(finding) {
    const row = make("li");
    const button = make("button", "finding");
    button.type = "button";
    button.dataset.n = String(finding.n);
    const badge = make("span", "badge", finding.severity);
    badge.dataset.severity = severityOf(finding.severity);
    const where = finding.of === null ? seconds(finding.t_s) : `${seconds(finding.t_s)}, ${finding.of} ${finding.start}–${finding.end}`;
    button.append(badge, make("b", "", finding.kind), make("span", "message", finding.message), make("span", "quiet", where));
    const facts = Object.entries(finding.evidence)
      .filter(([, value]) => value !== null)
      .map(([name, value]) => `${name}: ${value}`);
    if (facts.length) button.title = plain(facts.join("\n"));
    row.append(button);
    return row;
  }

  mark(n) {
    this.current = n;
    for (const button of this.list.querySelectorAll("button")) {
      if (Number(button.dataset.n) === n) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }
}

/** Recent messages: new ones are put behind, what is too old goes. */
export class Messages {
  constructor(limit) {
    this.list = element("messages");
    this.limit = limit;
    this.last = 0;
    this.of = undefined;
  }

  show(state, key) {
    const { messages } = state;
    if (key !== this.of || (messages.length && messages[messages.length - 1].n < this.last)) {
      this.of = key;
      this.last = 0;
      this.list.replaceChildren();
    }
    const fresh = messages.filter((message) => message.n > this.last && (!key || message.key === key));
    if (messages.length) this.last = messages[messages.length - 1].n;
    if (!fresh.length) {
      if (!this.list.childElementCount) this.list.append(make("li", "quiet empty", "None yet."));
      return;
    }
    const atEnd = this.list.scrollTop + this.list.clientHeight >= this.list.scrollHeight - 8;
    this.list.querySelector(".empty")?.remove();
    this.list.append(...fresh.map((message) => this.row(state, message)));
    while (this.list.childElementCount > this.limit) this.list.firstElementChild.remove();
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  row(state, message) {
    const row = make("li", "message-row");
    row.dataset.kind = message.kind;
    const time = make("time", "quiet", state.live ? clock(state.began_s, message.t_s) : seconds(message.t_s));
    const stream = state.streams[message.key];
    const words = make("span", "words");
    words.append(make("b", "", message.title), make("span", "", message.text ? ` ${message.text}` : ""));
    row.append(time, make("span", "kind", message.kind.replaceAll("_", " ")), words);
    if (stream && !this.of && state.live) row.append(make("span", "quiet from", stream.name || message.key));
    return row;
  }
}
