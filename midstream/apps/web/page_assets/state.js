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
  if (kept && kept.start + pointsIn(kept.text) === piece.at) ({ start, text } = kept);
  text += piece.add;
  if (piece.from > start) {
    text = text.slice(unitsOf(text, piece.from - start));
    start = piece.from;
  }
  return { start, text };
}

const PAIR = /[\ud800-\udbff][\udc00-\udfff]/;
const PAIRS = /[\ud800-\udbff][\udc00-\udfff]/g;
const counted = { text: "", points: 0 }; // the newest text that was counted: most only grow

/** Code points in a string. */
export function pointsIn(text) {
  if (text === counted.text) return counted.points;
  const pairs = PAIR.test(text) ? text.match(PAIRS).length : 0;
  counted.text = text;
  counted.points = text.length - pairs;
  return counted.points;
}

/** Where in a string so many code points end, in UTF-16 units. */
export function unitsOf(text, points) {
  if (!PAIR.test(text)) return Math.min(points, text.length);
  let units = 0;
  for (let left = points; left > 0 && units < text.length; left -= 1) {
    units += text.codePointAt(units) > 0xffff ? 2 : 1;
  }
  return units;
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
