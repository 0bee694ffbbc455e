// One text of a stream, with its findings marked where they are.

import { plain, severityOf, SEVERITIES } from "./words.js";
import { unitsOf } from "./state.js";

// While a text is followed, only its end is laid out: a browser lays all of it out for each word.
const TAIL = 4000;
const MOST_TAIL = 8000;
// And for a paragraph longer than any that people write, it takes minutes: a long text is laid out
// in blocks, which begin behind a line's end where there is one.
const LONG = 20_000;
const BLOCK = 4000;

/** Where the blocks of a long text begin, but the first. */
function cutsOf(text, from) {
  const cuts = [];
  let at = from;
  while (text.length - at > LONG || (cuts.length && text.length - at > 2 * BLOCK)) {
    const room = text.slice(at + BLOCK, at + 2 * BLOCK);
    const line = room.indexOf("\n");
    const end = line < 0 ? room.lastIndexOf(" ") : line;
    at += end < 0 ? 2 * BLOCK : BLOCK + end + 1;
    const code = text.charCodeAt(at);
    if (code >= 0xdc00 && code <= 0xdfff) at -= 1;
    cuts.push(at);
  }
  return cuts;
}

/** Pieces from one place on, between the borders of findings: [begin, end, findings], in units. */
function pieces(text, start, findings, from, cuts) {
  const borders = new Set([from, text.length, ...cuts]);
  const spans = [];
  const places = findings.map((finding) => [
    Math.max(0, finding.start - start), Math.max(0, finding.end - start), finding,
  ]);
  const units = unitsOf(text, places.flatMap(([begin, end]) => [begin, end]));
  for (const [first, last, finding] of places) {
    const begin = Math.max(from, units.get(first));
    const end = units.get(last);
    if (end > begin) {
      spans.push([begin, end, finding]);
      borders.add(begin);
      borders.add(end);
    }
  }
  const sorted = [...borders].sort((a, b) => a - b);
  const found = [];
  for (let at = 0; at + 1 < sorted.length; at += 1) {
    const [begin, end] = [sorted[at], sorted[at + 1]];
    const here = spans.filter((span) => span[0] <= begin && span[1] >= end).map((span) => span[2]);
    found.push([begin, end, here]);
  }
  return found;
}

function add(into, node) {
  if (Array.isArray(into)) into.push(node);
  else into.append(node);
}

function worst(findings) {
  return findings.reduce(
    (hard, finding) => Math.max(hard, SEVERITIES.indexOf(severityOf(finding.severity))), 0,
  );
}

export class TextView {
  /** `choose(n)` when a mark is chosen, of the finding with that number. */
  constructor(box, choose) {
    this.box = box;
    this.shown = null;
    this.follow = true;
    this.current = null;
    box.addEventListener("click", (event) => {
      const mark = event.target.closest("mark");
      if (mark && !String(getSelection())) choose(Number(mark.dataset.n));
    });
  }

  /** Show a text `{start, text}`; `findings` are those in it that are to be marked. */
  show(key, kept, findings, running) {
    const { shown, box } = this;
    const text = kept ? kept.text : "";
    const start = kept ? kept.start : 0;
    const from = this.first(key, text, running);
    const same = shown && shown.key === key && shown.start === start && shown.from === from
      && shown.findings.length === findings.length
      && shown.findings.every((finding, at) => finding === findings[at]);
    if (same && shown.text.length === text.length && shown.text === text) {
      this.caret(running);
      return;
    }
    if (same && shown.open && text.startsWith(shown.text)) {
      shown.open.appendData(plain(text.slice(shown.text.length)));
      shown.text = text;
    } else {
      this.rebuild(key, text, start, findings, from);
    }
    this.caret(running);
    if (this.follow) box.scrollTop = box.scrollHeight;
  }

  /** Where what is laid out begins. */
  first(key, text, running) {
    if (!this.follow || !running) return 0;
    const { shown } = this;
    const before = shown && shown.key === key && shown.from < text.length ? shown.from : 0;
    if (text.length - before <= MOST_TAIL) return before;
    const from = text.length - TAIL;
    const code = text.charCodeAt(from);
    return code >= 0xdc00 && code <= 0xdfff ? from - 1 : from;
  }

  /** Follow the end, or stay where it is: then all of the text is there. */
  setFollow(follow) {
    this.follow = follow;
    const { box, shown } = this;
    if (!follow && shown && shown.from > 0) {
      const below = box.scrollHeight - box.scrollTop;
      this.rebuild(shown.key, shown.text, shown.start, shown.findings, 0);
      box.scrollTop = box.scrollHeight - below;
    }
    if (follow) box.scrollTop = box.scrollHeight;
  }

  rebuild(key, text, start, findings, from) {
    const parts = [];
    if (key === null) {
      const none = document.createElement("span");
      none.className = "gone";
      none.textContent = "This stream has no text.";
      this.box.replaceChildren(none);
      this.shown = { key, text, start, findings, from, open: null };
      return;
    }
    if (start > 0 || from > 0) {
      const gone = document.createElement("span");
      gone.className = "gone";
      gone.textContent = from > 0
        ? "What was before is shown when the end is not followed"
        : `${start.toLocaleString("en-GB")} characters before are not kept`;
      parts.push(gone, "\n");
    }
    let open = null;
    const cuts = cutsOf(text, from);
    const begins = new Set(cuts.length ? [from, ...cuts] : []);
    let into = parts;
    const stillGrowing = findings.some((finding) => finding.end - start > text.length);
    for (const [begin, end, here] of pieces(text, start, findings, from, cuts)) {
      if (begins.has(begin)) {
        into = document.createElement("div");
        parts.push(into);
      }
      const node = document.createTextNode(plain(text.slice(begin, end)));
      if (here.length) {
        const mark = document.createElement("mark");
        mark.dataset.severity = SEVERITIES[worst(here)];
        mark.dataset.n = String(here[here.length - 1].n);
        mark.dataset.all = here.map((finding) => finding.n).join(" ");
        mark.title = plain(here.map((finding) => `${finding.severity}: ${finding.message}`).join("\n"));
        if (here.some((finding) => finding.n === this.current)) mark.classList.add("current");
        mark.append(node);
        add(into, mark);
        open = null;
      } else {
        add(into, node);
        open = node;
      }
    }
    if (!open && !stillGrowing) {
      open = document.createTextNode("");
      add(into, open);
    }
    this.box.replaceChildren(...parts);
    this.shown = { key, text, start, findings, from, open: stillGrowing ? null : open };
  }

  caret(running) {
    this.box.classList.toggle("running", running && this.shown.key !== null);
  }

  /** Show where a finding is; whether it is in sight now. */
  go(n) {
    this.current = n;
    let first = null;
    for (const mark of this.box.querySelectorAll("mark")) {
      const here = mark.dataset.all.split(" ").includes(String(n));
      mark.classList.toggle("current", here);
      if (here && !first) first = mark;
    }
    if (first) {
      const at = first.getBoundingClientRect().top - this.box.getBoundingClientRect().top;
      this.box.scrollTop += at - Math.min(60, this.box.clientHeight / 4);
    }
    return first !== null;
  }
}
