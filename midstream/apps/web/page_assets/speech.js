// What is said to those who listen to the page.

import { element, put } from "./words.js";

const ANNOUNCE_MS = 5000; // findings are told at most so often

const said = { words: [], timer: null, at: 0 };

export function announce(words) {
  put(element("announce"), words);
}

/** Tell of what a frame has found, unless it is only a note. */
export function announceFindings(fields) {
  for (const change of Object.values(fields.changed || {})) {
    for (const finding of (change.append && change.append.findings) || []) {
      if (finding.severity !== "note") said.words.push(`${finding.severity}: ${finding.message}`);
    }
  }
  if (!said.words.length || said.timer) return;
  said.timer = setTimeout(() => {
    const last = said.words[said.words.length - 1];
    announce(said.words.length === 1 ? last : `${said.words.length} findings, the last: ${last}`);
    said.words = [];
    said.at = performance.now();
    said.timer = null;
  }, Math.max(0, ANNOUNCE_MS - (performance.now() - said.at)));
}
