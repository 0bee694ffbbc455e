// Pictures on canvases: colours come from the style sheet, and each has its gist in words.

let colours = null;

function colour(name) {
  if (colours === null) colours = getComputedStyle(document.documentElement);
  return colours.getPropertyValue(name).trim();
}

/** The colours may have changed. */
export function forgetColours() {
  colours = null;
}

/** A canvas as large as its place, cleared; null while it has none. */
function begin(canvas) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !height) return null;
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  return { pen, width, height };
}

function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** Label a canvas, but not more often than somebody could want to hear it. */
function say(canvas, text) {
  if (canvas.getAttribute("aria-label") !== text) canvas.setAttribute("aria-label", text);
}

/** A rate over time: samples of [t, value, ...], the newest at the right. */
export function drawRate(canvas, samples, now, span, label, small = false) {
  const place = begin(canvas);
  if (!place) return;
  const { pen, width, height } = place;
  const [left, right, top, bottom] = small ? [2, 2, 3, 3] : [40, 10, 8, 18];
  const shown = samples.filter((sample) => sample[0] >= now - span);
  const most = shown.reduce((high, sample) => Math.max(high, sample[1]), 0);
  const scale = nice(most);
  const x = (t) => left + ((t - (now - span)) / span) * (width - left - right);
  const y = (value) => height - bottom - (value / scale) * (height - top - bottom);
  if (!small) {
    pen.fillStyle = colour("--quiet");
    pen.strokeStyle = colour("--line");
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const part of [0, 0.5, 1]) {
      const at = Math.round(y(scale * part)) + 0.5;
      pen.beginPath();
      pen.moveTo(left, at);
      pen.lineTo(width - right, at);
      pen.stroke();
      const value = scale * part;
      pen.fillText(value >= 10000 ? `${value / 1000}k` : String(+value.toPrecision(3)), left - 6, at);
    }
    pen.textBaseline = "alphabetic";
    pen.textAlign = "left";
    pen.fillText(`${Math.round(span)} s ago`, left, height - 4);
    pen.textAlign = "right";
    pen.fillText("now", width - right, height - 4);
  }
  if (shown.length) {
    // Between samples that are far apart nothing was told, since nothing changed: zero.
    const line = [];
    let before = null;
    for (const [t, value] of shown) {
      if (before !== null && t - before > 1.6) line.push([before + 0.5, 0], [t - 0.5, 0]);
      line.push([t, value]);
      before = t;
    }
    if (now - before > 1.6) line.push([before + 0.5, 0], [now, 0]);
    else line.push([now, shown[shown.length - 1][1]]);
    pen.beginPath();
    line.forEach(([t, value], at) => (at ? pen.lineTo(x(t), y(value)) : pen.moveTo(x(t), y(value))));
    pen.strokeStyle = colour("--accent");
    pen.lineWidth = small ? 1.5 : 2;
    pen.lineJoin = "round";
    pen.stroke();
    pen.lineTo(x(line[line.length - 1][0]), y(0));
    pen.lineTo(x(line[0][0]), y(0));
    pen.closePath();
    pen.globalAlpha = 0.16;
    pen.fillStyle = colour("--accent");
    pen.fill();
    pen.globalAlpha = 1;
  }
  say(canvas, `${label}: at most ${Math.round(most)} in the last ${Math.round(span)} seconds`);
}

/** Points of a phase portrait, the newest the strongest. */
export function drawPortrait(canvas, points, words) {
  const place = begin(canvas);
  if (!place) return;
  const { pen, width, height } = place;
  say(canvas, words);
  const [left, right, top, bottom] = [18, 10, 6, 17];
  const [wide, tall] = [width - left - right, height - top - bottom];
  pen.strokeStyle = colour("--line");
  pen.lineWidth = 1;
  pen.strokeRect(left + 0.5, top + 0.5, wide, tall);
  pen.beginPath();
  pen.moveTo(left, top + tall);
  pen.lineTo(left + wide, top);
  pen.setLineDash([3, 4]);
  pen.stroke();
  pen.setLineDash([]);
  pen.fillStyle = colour("--quiet");
  pen.textBaseline = "alphabetic";
  pen.textAlign = "right";
  pen.fillText("a phrase →", width - right, height - 3);
  pen.save();
  pen.translate(left - 6, top);
  pen.rotate(-Math.PI / 2);
  pen.fillText("the next →", 0, 0);
  pen.restore();
  const known = points.filter((point) => point[0] !== null && point[1] !== null);
  if (!known.length) return;
  let low = Infinity;
  let high = -Infinity;
  for (const [a, b] of known) {
    low = Math.min(low, a, b);
    high = Math.max(high, a, b);
  }
  const pad = Math.max((high - low) * 0.08, 0.25);
  low -= pad;
  high += pad;
  const x = (value) => left + ((value - low) / (high - low)) * wide;
  const y = (value) => top + tall - ((value - low) / (high - low)) * tall;
  pen.strokeStyle = colour("--accent");
  known.forEach(([a, b], at) => {
    const age = (at + 1) / known.length;
    if (at) {
      pen.globalAlpha = 0.05 + 0.3 * age * age;
      pen.beginPath();
      pen.moveTo(x(known[at - 1][0]), y(known[at - 1][1]));
      pen.lineTo(x(a), y(b));
      pen.stroke();
    }
  });
  pen.fillStyle = colour("--accent");
  known.forEach(([a, b], at) => {
    pen.globalAlpha = 0.2 + (0.8 * (at + 1)) / known.length;
    pen.beginPath();
    pen.arc(x(a), y(b), 2.6, 0, 7);
    pen.fill();
  });
  pen.globalAlpha = 1;
  const [a, b] = known[known.length - 1];
  pen.fillStyle = colour("--mark");
  pen.strokeStyle = colour("--panel");
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.arc(x(a), y(b), 4.5, 0, 7);
  pen.fill();
  pen.stroke();
}

/** Levels of sound in dB below full scale, and brightness. */
export function drawLevels(canvas, levels, words) {
  const place = begin(canvas);
  if (!place) return;
  const { pen, width, height } = place;
  const step = width / 120;
  const shown = levels.slice(-120);
  shown.forEach(([, level, bright], at) => {
    const x = width - (shown.length - at) * step;
    if (level !== null) {
      const part = Math.max(0, Math.min(1, (level + 60) / 60));
      pen.fillStyle = colour(level > -3 ? "--stop" : "--accent");
      pen.fillRect(x, height - part * height, Math.max(step - 1, 1), part * height);
    }
    if (bright !== null) {
      pen.fillStyle = colour("--mark");
      pen.fillRect(x, height - Math.max(0, Math.min(1, bright)) * (height - 2) - 2, Math.max(step - 1, 1), 2);
    }
  });
  say(canvas, words);
}

/** Findings of a recording at their times. */
export function drawTicks(canvas, marks, duration, position) {
  const place = begin(canvas);
  if (!place) return;
  const { pen, width, height } = place;
  const inset = 8;
  const x = (t) => inset + (duration > 0 ? t / duration : 0) * (width - 2 * inset);
  pen.fillStyle = colour("--line");
  pen.fillRect(inset, height - 3, width - 2 * inset, 3);
  pen.fillStyle = colour("--accent");
  pen.fillRect(inset, height - 3, x(position) - inset, 3);
  for (const mark of marks) {
    pen.fillStyle = colour(`--${mark.severity}`) || colour("--note");
    pen.fillRect(Math.round(x(mark.t_s)) - 1, 0, 3, height - 4);
  }
  say(canvas, `${marks.length} findings`);
}
