// The state of a feed, and how frames change it: what midstream.apps.feed.apply does.
// No change touches what was there before, so that whatever is the same object is the same.

function changeOf(stream, change, limits) {
  const next = Object.assign({}, stream, change.set);
  if (change.verdicts) {
    // Names are anybody's: an object without a prototype takes them all.
    next.verdicts = Object.assign(Object.create(null), stream.verdicts, change.verdicts);
  }
  for (const name of change.clear || []) next[name] = [];
  for (const [name, items] of Object.entries(change.append || {})) {
    next[name] = extended(next[name], items, limits[name]);
  }
  for (const [name, most] of Object.entries(change.keep || {})) {
    next[name] = extended(next[name], [], most);
  }
  if (change.texts || change.forget) {
    next.texts = Object.assign(Object.create(null), stream.texts);
    for (const [key, piece] of Object.entries(change.texts || {})) {
      next.texts[key] = joined(next.texts[key], piece);
    }
    for (const key of change.forget || []) delete next.texts[key];
  }
  return next;
}

function extended(items, more, limit) {
  const all = items.concat(more);
  return all.length > limit ? all.slice(all.length - limit) : all;
}

function joined(kept, piece) {
  let start = piece.at;
  let text = "";
  if (kept && endOf(kept) === piece.at) ({ start, text } = kept);
  text += piece.add;
  if (piece.from > start) {
    text = text.slice(unitsOf(text, [piece.from - start]).get(piece.from - start));
    start = piece.from;
  }
  const made = { start, text };
  ends.set(made, piece.at + pointsIn(piece.add));
  return made;
}

const ends = new WeakMap(); // of texts: where they end, which takes long to count

function endOf(kept) {
  return ends.get(kept) ?? kept.start + pointsIn(kept.text);
}

const PAIR = /[\ud800-\udbff][\udc00-\udfff]/;
const PAIRS = /[\ud800-\udbff][\udc00-\udfff]/g;

/** Code points in a string. */
function pointsIn(text) {
  return text.length - (PAIR.test(text) ? text.match(PAIRS).length : 0);
}

/** Where in a string so many code points end, in UTF-16 units: a map of all that are asked for. */
export function unitsOf(text, all) {
  const found = new Map();
  if (!PAIR.test(text)) {
    for (const points of all) found.set(points, Math.max(0, Math.min(points, text.length)));
    return found;
  }
  let units = 0;
  let passed = 0;
  for (const points of [...all].sort((a, b) => a - b)) {
    while (passed < points && units < text.length) {
      units += text.codePointAt(units) > 0xffff ? 2 : 1;
      passed += 1;
    }
    found.set(points, units);
  }
  return found;
}

/** The state after a frame; throws where the frame does not follow. */
export function apply(state, fields) {
  if (fields.type === "snapshot") return fields;
  if (!state || fields.id !== state.id + 1) throw new Error(`frame ${fields.id} does not follow`);
  const limits = state.limits;
  const next = Object.assign({}, state, { id: fields.id, t_s: fields.t_s });
  if (fields.evicted || fields.opened || fields.changed) {
    next.streams = Object.assign({}, state.streams);
    for (const key of fields.evicted || []) delete next.streams[key];
    Object.assign(next.streams, fields.opened);
    for (const [key, change] of Object.entries(fields.changed || {})) {
      next.streams[key] = changeOf(next.streams[key], change, limits);
    }
  }
  for (const name of ["messages", "history"]) {
    if (fields[name]) next[name] = extended(state[name], fields[name], limits[name]);
  }
  if (fields.totals) next.totals = fields.totals;
  return next;
}
