// Shows events that a midstream server pushes: one unidirectional stream of JSON lines.
// Whatever comes from a stream is set as text, never as HTML.
"use strict";

const ROWS = 500; // rows that are kept; the oldest go first
const RATE_MS = 5000; // span over which the rate is taken
const RETRY_MS = [500, 1000, 2000, 5000, 10000];

const element = (id) => document.getElementById(id);
const list = element("events");
const times = [];
let count = 0;
let missed = 0;
let paused = false;
let openedAt = 0;
let held = []; // rows that came while the list was paused

function setState(state, text) {
  element("state").dataset.state = state;
  element("state").textContent = text;
}

function describe(event) {
  if (event === null || typeof event !== "object" || Array.isArray(event)) {
    return ["", typeof event === "string" ? event : JSON.stringify(event)];
  }
  const { kind, ...rest } = event;
  const text = typeof rest.text === "string" ? rest.text : JSON.stringify(rest);
  return [kind === undefined ? "" : String(kind), text];
}

function cell(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function matches(row) {
  const wanted = element("filter").value.toLowerCase();
  return !wanted || row.textContent.toLowerCase().includes(wanted);
}

function place(rows) {
  const follow = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
  for (const row of rows) row.hidden = !matches(row);
  list.append(...rows);
  while (list.childElementCount > ROWS) list.firstElementChild.remove();
  element("empty").hidden = list.childElementCount > 0;
  if (follow) list.scrollTop = list.scrollHeight;
}

function take(line) {
  const message = JSON.parse(line);
  missed += message.missed || 0;
  count += 1;
  times.push(performance.now());
  const [kind, text] = describe(message.event);
  const row = document.createElement("li");
  const when = new Date(message.t_ms);
  const time = cell("time", "time", when.toISOString().slice(11, 23));
  time.dateTime = when.toISOString();
  row.append(time, cell("span", "kind", kind), cell("span", "text", text));
  return row;
}

function show(rows) {
  if (paused) {
    held = held.concat(rows).slice(-ROWS);
  } else if (rows.length) {
    place(rows);
  }
}

function figures() {
  const now = performance.now();
  while (times.length && times[0] < now - RATE_MS) times.shift();
  element("count").textContent = String(count);
  element("missed").textContent = String(missed);
  element("rate").textContent = (times.length / (RATE_MS / 1000)).toFixed(1);
  const age = openedAt ? Math.floor((now - openedAt) / 1000) : 0;
  element("age").textContent = `${age} s`;
}

async function readStream(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    show(lines.filter((line) => line).map(take));
  }
}

async function connect() {
  const answer = await fetch("session.json", { cache: "no-store" });
  if (!answer.ok) throw new Error(`session.json: ${answer.status}`);
  const session = await answer.json();
  document.title = session.title;
  element("title").textContent = session.title;
  const hashes = session.sha256.map((hex) => ({
    algorithm: "sha-256",
    value: Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16)),
  }));
  const transport = new WebTransport(session.url, { serverCertificateHashes: hashes });
  // A failure is told by `ready` and the streams; without a handler it would be told twice.
  const closed = transport.closed.catch((error) => ({ reason: error.message }));
  await transport.ready;
  openedAt = performance.now();
  setState("open", "Connected");
  try {
    const streams = transport.incomingUnidirectionalStreams.getReader();
    const { value, done } = await streams.read();
    if (done) return await closed;
    await readStream(value);
    transport.close(); // the stream has ended, and with it the events
    return null;
  } finally {
    openedAt = 0;
  }
}

async function run() {
  if (typeof WebTransport === "undefined") {
    setState("closed", "This browser has no WebTransport");
    return;
  }
  for (let attempt = 0; ; attempt += 1) {
    let why = "";
    setState("connecting", attempt ? "Connecting again" : "Connecting");
    try {
      const info = await connect();
      if (info === null) {
        setState("closed", "The events have ended");
        return;
      }
      attempt = 0;
      why = info.reason ? `: ${info.reason}` : "";
    } catch (error) {
      why = error && error.message ? `: ${error.message}` : "";
    }
    const wait = RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)];
    setState("closed", `Not connected${why}`);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function setPaused(value) {
  paused = value;
  element("pause").setAttribute("aria-pressed", String(paused));
  element("pause").textContent = paused ? "Resume" : "Pause";
  if (!paused) {
    const rows = held;
    held = [];
    show(rows);
  }
}

function clearList() {
  held = [];
  list.replaceChildren();
  element("empty").hidden = false;
}

element("pause").addEventListener("click", () => setPaused(!paused));
element("clear").addEventListener("click", clearList);
element("filter").addEventListener("input", () => {
  for (const row of list.children) row.hidden = !matches(row);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === element("filter")) {
    if (event.key === "Escape") element("filter").blur();
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    element("filter").focus();
  } else if (event.key === "p") {
    setPaused(!paused);
  } else if (event.key === "c") {
    clearList();
  }
});
setInterval(figures, 250);
run();
