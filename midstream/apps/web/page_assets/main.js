// The page: what is shown of which state, and what keys and buttons do.

import * as charts from "./charts.js";
import { arranged, asked, fillStream, List } from "./list.js";
import { Link, login } from "./link.js";
import * as panels from "./panels.js";
import { Replay } from "./replay.js";
import { announce, announceFindings } from "./speech.js";
import { apply } from "./state.js";
import { TextView } from "./text.js";
import { bytes, counted, element, make, plain, put, putName, seconds, whole } from "./words.js";

const RATE_MS = 500; // how often what moves by itself is drawn
const THEMES = ["auto", "light", "dark"];
const THEME_NAMES = { auto: "system", light: "light", dark: "dark" };

const page = {
  view: "live",
  live: null, // the feed's state
  missed: 0,
  key: { live: null, replay: null }, // the stream, or recording, that is shown
  text: null, // the text that is shown; null for the one with the newest news
  onlyThis: false,
  replay: null,
  recordings: [],
  loading: null,
  session: null,
  dirty: true,
};

const drawn = {}; // what each panel shows

function store(name, value) {
  try {
    localStorage.setItem(`midstream-${name}`, value);
  } catch {
    // Then it is forgotten with the page.
  }
}

function stored(name) {
  try {
    return localStorage.getItem(`midstream-${name}`);
  } catch {
    return null;
  }
}

// What is shown

function state() {
  return page.view === "live" ? page.live : page.replay && page.replay.state;
}

function stream() {
  const now = state();
  if (!now) return null;
  if (page.view === "replay") return Object.values(now.streams)[0] || null;
  return now.streams[page.key.live] || null;
}

const list = new List(element("list"), { choose: chooseRow, fill: fillRow });
const text = new TextView(element("text"), goToFinding);
const findings = new panels.Findings(goToFinding);
const messages = new panels.Messages(200);
findings.onfilter = () => changed();

function changed() {
  page.dirty = true;
  if (!changed.asked) {
    changed.asked = true;
    requestAnimationFrame(() => {
      changed.asked = false;
      draw();
    });
  }
}

function draw() {
  if (!page.dirty) return;
  page.dirty = false;
  drawList();
  if (page.live) drawOnce("totals", page.live.totals, () => panels.showTotals(page.live));
  const now = state();
  const one = stream();
  element("one").hidden = !one && page.view === "live";
  element("nothing").hidden = Boolean(one) || (page.view === "replay" && page.replay !== null);
  put(element("nothing"), nothing());
  element("player").hidden = page.view !== "replay" || !page.replay;
  if (page.view === "replay" && page.replay) drawPlayer();
  element("one").hidden = !now || (!one && !(page.view === "replay" && page.replay));
  if (!one || !now) {
    if (page.view === "replay" && page.replay) drawEmpty();
    return;
  }
  const name = `${page.view} ${now.feed} ${one.key} ${page.key[page.view]}`;
  if (drawn.name !== name) {
    for (const part of Object.keys(drawn)) if (part !== "totals") delete drawn[part];
    drawn.name = name;
    findings.shown = null;
    text.shown = null;
    text.current = null;
    findings.current = null;
  }
  drawOnce("head", one, () => panels.showHead(one, { ...now, live: page.view === "live" }));
  drawText(one);
  drawOnce("findings", one.findings, () => findings.show(one));
  drawOnce("latency", one.latency, () => panels.showLatency(one.latency));
  drawOnce("regime", one.portrait, () => panels.showRegime(one), one.regime);
  drawOnce("verdicts", one.verdicts, () => panels.showVerdicts(one.verdicts));
  drawOnce("counts", one.counts, () => panels.showCounts(one.counts));
  drawOnce("media", one.audio, () => panels.showMedia(one), one.video, one.levels);
  drawOnce("rates", one.rates, () => panels.drawRate(one, time()), one.rate);
  const told = { ...now, live: page.view === "live" };
  drawOnce("messages", now.messages, () => messages.show(told, page.onlyThis ? one.key : null), page.onlyThis);
}

/** Draw a part if what it shows is not what it showed. */
function drawOnce(part, ...rest) {
  const [value, paint, ...more] = rest;
  const before = drawn[part];
  const now = [value, ...more];
  if (before && now.every((item, at) => item === before[at])) return;
  drawn[part] = now;
  paint();
}

function nothing() {
  if (page.view === "replay") {
    if (page.loading) return `Reading ${page.loading}`;
    return page.recordings.length ? "Choose a recording." : "The folder holds no recordings.";
  }
  if (!page.live) return "Waiting for the feed.";
  return Object.keys(page.live.streams).length ? "Choose a stream." : "No stream has come yet.";
}

function drawEmpty() {
  // Before the first event of a recording there is no stream.
  put(element("name"), page.replay.told.name);
  put(element("about"), "before the first event");
  element("text").replaceChildren();
  text.shown = null;
  delete drawn.name;
}

function drawList() {
  const live = page.view === "live";
  if (live) {
    if (!page.live) return;
    const found = arranged(page.live.streams, asked());
    const all = Object.keys(page.live.streams).length;
    if (page.key.live === null && found.length) page.key.live = found[0].key;
    list.set(found, page.key.live);
    put(element("list-count"), found.length === all ? counted(all, "stream") : `${whole(found.length)} of ${counted(all, "stream")}`);
  } else {
    const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = page.recordings.filter((one) =>
      words.every((word) => `${one.name} ${one.source}`.toLowerCase().includes(word)));
    if (element("sort").value === "name") found.sort((a, b) => a.name.localeCompare(b.name));
    list.set(found.map((item) => ({ key: item.name, item })), page.key.replay);
    put(element("list-count"), counted(found.length, "recording"));
  }
}

function fillRow(row, item) {
  if (item.bytes === undefined) {
    fillStream(row, item);
    return;
  }
  const under = [bytes(item.bytes), item.written.slice(0, 16).replace("T", " ")];
  if (item.source) under.push(item.source);
  const line = make("span", "line");
  const name = make("span", "name");
  putName(name, item.name);
  line.append(name);
  row.replaceChildren(line, make("span", "under", under.join(" · ")));
}

function textKeys(one) {
  return Object.keys(one.texts);
}

/** The text to show: the one chosen, else the answer, else the one with the newest news. */
function chosenText(one) {
  const keys = textKeys(one);
  if (page.text && keys.includes(page.text)) return page.text;
  return keys.find((key) => key.startsWith("text/")) || keys[keys.length - 1] || null;
}

function drawText(one) {
  const key = chosenText(one);
  const keys = textKeys(one);
  const tabs = element("texts");
  const signature = keys.join("\n");
  if (drawn.tabs !== signature) {
    drawn.tabs = signature;
    tabs.replaceChildren(...keys.map((name) => {
      const tab = make("button", "", name.endsWith("/") ? name.slice(0, -1).replaceAll("_", " ") : name.replaceAll("_", " "));
      tab.type = "button";
      tab.dataset.key = name;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", "text");
      return tab;
    }));
  }
  for (const tab of tabs.children) {
    const chosen = tab.dataset.key === key;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
  const here = findings.wanted(one.findings).filter((finding) => finding.of === key);
  element("follow").hidden = key === null;
  text.show(key === null ? null : `${one.key} ${key}`, key === null ? null : one.texts[key], here, one.outcome === "running");
}

function goToFinding(n) {
  const one = stream();
  const finding = one && one.findings.find((item) => item.n === n);
  if (!finding) return;
  findings.mark(n);
  if (finding.of === null || !(finding.of in one.texts)) {
    announce(`${finding.kind}: it is of no text that is kept`);
    return;
  }
  setFollow(false);
  page.text = finding.of;
  drawText(one);
  if (!text.go(n)) announce("This part of the text is not kept any more");
}

function nextFinding(by) {
  if (page.view === "replay" && page.replay) {
    page.replay.playing = false;
    if (!page.replay.finding(by)) announce(by > 0 ? "No further finding" : "No finding before");
    changed();
    draw();
    const one = stream();
    const last = one && one.findings[one.findings.length - 1];
    if (last) goToFinding(last.n);
    return;
  }
  const one = stream();
  if (!one) return;
  const wanted = findings.wanted(one.findings);
  if (!wanted.length) return announce("Nothing was found");
  const at = wanted.findIndex((finding) => finding.n === findings.current);
  const to = at < 0 ? (by > 0 ? 0 : wanted.length - 1) : Math.max(0, Math.min(wanted.length - 1, at + by));
  goToFinding(wanted[to].n);
}

function setFollow(follow) {
  text.setFollow(follow);
  element("follow").setAttribute("aria-pressed", String(follow));
}

// The live feed

function take(fields) {
  const before = page.live;
  if (fields.type === "snapshot" && before && before.feed === fields.feed && fields.id > before.id) {
    page.missed += fields.id - before.id;
  }
  page.live = apply(fields.type === "snapshot" && before && before.feed !== fields.feed ? null : before, fields);
  page.heard = performance.now();
  if (fields.type === "snapshot" && (!before || before.feed !== fields.feed)) {
    if (!(page.key.live in page.live.streams)) page.key.live = null;
  }
  if (page.view === "live") announceFindings(fields);
  changed();
}

/** Seconds of the feed, or of the recording. */
function time() {
  if (page.view === "replay") return page.replay ? page.replay.time : 0;
  return page.live ? page.live.t_s + (performance.now() - (page.heard || 0)) / 1000 : 0;
}

function setLink(how, words) {
  const link = element("link");
  link.dataset.state = how;
  const missed = page.missed ? `, ${whole(page.missed)} frames missed` : "";
  put(link, words + missed);
}

const link = new Link({
  take,
  tell: setLink,
  ready: (session) => {
    page.session = session;
    put(element("title"), session.title);
    document.title = plain(session.title);
    element("view-replay").hidden = !session.recordings;
    element("logout").hidden = !session.guarded;
    element("login").hidden = true;
    document.body.classList.remove("locked");
  },
  locked,
  last: () => (page.live ? `${page.live.feed}-${page.live.id}` : null),
});

/** Ask for the token until it is right. */
function locked() {
  document.body.classList.add("locked");
  const form = element("login");
  form.hidden = false;
  element("token").focus();
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      const problem = await login(element("token").value).catch((error) => error.message);
      put(element("login-problem"), problem);
      if (problem) return;
      element("token").value = "";
      resolve();
    };
  });
}

/** Use the token of the address, which is then taken out of it. */
async function tokenOfAddress() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (!found) return;
  history.replaceState(null, "", location.pathname);
  const problem = await login(decodeURIComponent(found[1])).catch((error) => error.message);
  if (problem) put(element("login-problem"), problem);
}

// Recordings

async function setView(view) {
  if (view === page.view || (view === "replay" && !(page.session && page.session.recordings))) return;
  page.view = view;
  element("view-live").setAttribute("aria-pressed", String(view === "live"));
  element("view-replay").setAttribute("aria-pressed", String(view === "replay"));
  for (const id of ["side", "list"]) element(id).setAttribute("aria-label", view === "live" ? "Streams" : "Recordings");
  element("filter").disabled = view === "replay";
  element("totals").hidden = view === "replay";
  if (page.replay) page.replay.playing = false;
  page.text = null;
  setFollow(true);
  changed();
  if (view === "replay") {
    try {
      const answer = await fetch("/api/recordings", { cache: "no-store" });
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      page.recordings = (await answer.json()).recordings;
    } catch (error) {
      announce(`The recordings could not be read: ${error.message}`);
    }
    changed();
  }
}

let loading = new AbortController();

async function openRecording(name) {
  loading.abort();
  loading = new AbortController();
  page.key.replay = name;
  page.replay = null;
  page.loading = name;
  changed();
  try {
    const replay = await Replay.load(name, loading.signal);
    page.replay = replay;
    page.loading = null;
    replay.speed = Number(element("speed").value);
    element("scrub").max = String(Math.max(1, Math.round(replay.told.duration_s * 1000)));
    replay.seek(replay.length);
    page.text = null;
    setFollow(true);
    drawn.name = null;
    const problems = replay.told.problems;
    announce(problems.length ? `Read, but: ${problems[0]}` : `${name}: ${replay.told.events} events`);
  } catch (error) {
    if (error.name === "AbortError") return;
    page.loading = null;
    announce(`${name}: ${error.message}`);
    put(element("link"), `${name}: ${error.message}`);
  }
  changed();
}

function drawPlayer() {
  const { replay } = page;
  const { told } = replay;
  const scrub = element("scrub");
  scrub.value = String(Math.round(replay.time * 1000));
  const at = replay.position ? replay.frames[replay.position].at : 0;
  scrub.setAttribute("aria-valuetext", `${seconds(replay.time)} of ${seconds(told.duration_s)}`);
  put(element("position"), `${seconds(replay.time)} of ${seconds(told.duration_s)} · event ${whole(at)} of ${whole(told.events)}`);
  put(element("play"), replay.playing ? "Pause" : "Play");
  element("play").setAttribute("aria-pressed", String(replay.playing));
  charts.drawTicks(element("ticks"), told.marks, told.duration_s, replay.time);
}

function setPlaying(playing) {
  const { replay } = page;
  if (!replay) return;
  if (playing && replay.position === replay.length) replay.seek(0);
  replay.playing = playing;
  changed();
  if (!playing) return;
  let before = performance.now();
  const tick = (now) => {
    if (page.replay !== replay || !replay.playing) return;
    replay.pass(Math.max(0, now - before) / 1000);
    before = now;
    page.dirty = true;
    draw();
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

function still(action) {
  if (!page.replay) return;
  page.replay.playing = false;
  action(page.replay);
  changed();
}

function setSpeed(by) {
  const select = element("speed");
  select.selectedIndex = Math.max(0, Math.min(select.options.length - 1, select.selectedIndex + by));
  if (page.replay) page.replay.speed = Number(select.value);
  announce(`Speed ${select.selectedOptions[0].textContent}`);
}

// Choosing

function chooseRow(key) {
  if (page.view === "replay") {
    if (key !== page.key.replay || !page.replay) openRecording(key);
    return;
  }
  page.key.live = key;
  page.text = null;
  setFollow(true);
  changed();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  store("theme", theme);
  put(element("theme"), `Colours: ${THEME_NAMES[theme]}`);
  recolour();
}

function recolour() {
  charts.forgetColours();
  for (const part of ["regime", "rates", "media"]) delete drawn[part];
  changed();
}

function nextTheme() {
  const at = THEMES.indexOf(document.documentElement.dataset.theme);
  setTheme(THEMES[(at + 1) % THEMES.length]);
}

function setOnlyThis(only) {
  page.onlyThis = only;
  element("only-this").setAttribute("aria-pressed", String(only));
  changed();
}

function nextText(by) {
  const one = stream();
  if (!one) return;
  const keys = textKeys(one);
  if (keys.length < 2) return;
  const at = keys.indexOf(chosenText(one));
  page.text = keys[(at + by + keys.length) % keys.length];
  setFollow(true);
  changed();
}

// Buttons and keys

const on = (id, kind, handler) => element(id).addEventListener(kind, handler);
on("view-live", "click", () => setView("live"));
on("view-replay", "click", () => setView("replay"));
on("theme", "click", nextTheme);
on("help-button", "click", () => element("help").showModal());
on("follow", "click", () => setFollow(!text.follow));
on("only-this", "click", () => setOnlyThis(!page.onlyThis));
on("logout", "click", async () => {
  await fetch("/api/logout", { method: "POST" }).catch(() => null);
  location.reload();
});
for (const id of ["search", "filter", "sort"]) on(id, "input", changed);
on("texts", "click", (event) => {
  const tab = event.target.closest("[role=tab]");
  if (!tab) return;
  page.text = tab.dataset.key;
  setFollow(true);
  changed();
});
on("texts", "keydown", (event) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  nextText(by);
  draw();
  element("texts").querySelector('[aria-selected="true"]')?.focus();
});
on("text", "scroll", () => {
  const box = element("text");
  const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
  if (!atEnd && text.follow && box.matches(":hover, :focus")) setFollow(false);
});
on("play", "click", () => setPlaying(!(page.replay && page.replay.playing)));
on("step", "click", () => still((replay) => replay.step(1)));
on("step-back", "click", () => still((replay) => replay.step(-1)));
on("to-start", "click", () => still((replay) => replay.seek(0)));
on("to-end", "click", () => still((replay) => replay.seek(replay.length)));
on("found-next", "click", () => nextFinding(1));
on("found-before", "click", () => nextFinding(-1));
on("speed", "change", () => setSpeed(0));
on("scrub", "input", () => still((replay) => replay.seekTime(Number(element("scrub").value) / 1000)));
on("scrub", "keydown", (event) => {
  const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
  if (!by || !page.replay) return;
  event.preventDefault(); // a millisecond would be too little
  const unit = Math.max(0.1, page.replay.told.duration_s / 100);
  still((replay) => replay.seekTime(replay.time + by * unit));
});
on("ticks", "click", (event) => {
  const box = element("ticks").getBoundingClientRect();
  const part = (event.clientX - box.left - 8) / (box.width - 16);
  still((replay) => replay.seekTime(part * replay.told.duration_s));
});
on("keys-on", "change", () => store("keys", element("keys-on").checked ? "on" : "off"));

const KEYS = {
  "?": () => element("help").showModal(),
  "/": () => element("search").focus(),
  j: () => list.move(1),
  k: () => list.move(-1),
  n: () => nextFinding(1),
  p: () => nextFinding(-1),
  t: () => nextText(1),
  f: () => setFollow(!text.follow),
  m: () => setOnlyThis(!page.onlyThis),
  l: () => setView("live"),
  r: () => setView("replay"),
  d: nextTheme,
  ",": () => still((replay) => replay.step(-1)),
  ".": () => still((replay) => replay.step(1)),
  "-": () => setSpeed(-1),
  "+": () => setSpeed(1),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || element("help").open) return;
  if (document.body.classList.contains("locked")) return;
  const { target } = event;
  if (target.matches("input:not([type=range], [type=checkbox]), textarea, select")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (!element("keys-on").checked) return;
  if (event.key === " " && page.view === "replay" && !target.matches("button, summary")) {
    event.preventDefault();
    setPlaying(!(page.replay && page.replay.playing));
    return;
  }
  if (page.view === "replay" && (event.key === "Home" || event.key === "End") && !target.closest("#text, #messages")) {
    event.preventDefault();
    still((replay) => replay.seek(event.key === "Home" ? 0 : replay.length));
    return;
  }
  const action = KEYS[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
// A canvas that has another size is drawn anew, and not stretched.
const sized = new ResizeObserver(recolour);
for (const canvas of document.querySelectorAll("canvas")) sized.observe(canvas);
setInterval(() => {
  if (document.hidden) return;
  if (page.live && page.view === "live") panels.drawTotals(page.live, time());
  const one = stream();
  if (one && (page.view === "live" || (page.replay && page.replay.playing))) panels.drawRate(one, time());
}, RATE_MS);

element("keys-on").checked = stored("keys") !== "off";
put(element("theme"), `Colours: ${THEME_NAMES[document.documentElement.dataset.theme]}`);
draw();
tokenOfAddress().then(() => link.run());
